"""Files and directories as the parameters of apps: put beside the app before it starts."""

from __future__ import annotations

import asyncio
import fnmatch
import tarfile
from collections.abc import Sequence
from pathlib import Path

from callmesh import _blobs
from callmesh.app.parameters import Content
from callmesh.io import _store
from callmesh.io._dir import Dir
from callmesh.io._file import File


async def stored(value: File | Dir, ignore_patterns: Sequence[str] = ()) -> Content:
    """What the agent fetches for it, in the mesh's store: a file, or a tar of a directory.

    For code on the bridge's loop.
    """
    with _store.scratch() as folder:
        if isinstance(value, File):
            return await _stored_file(value, folder)
        root = Path(await value.download(folder / "content"))
        archive = folder / "archive"
        await asyncio.to_thread(_pack, root, archive, ignore_patterns)
        return await _uploaded(archive, "bundle", value.name or "dir")


async def _stored_file(value: File, folder: Path) -> Content:
    name = Path(value.name or "file").name
    if value.path.startswith(_store.SCHEME) and value.size is not None:
        return Content(_store.digest_of(value.path), value.size, "file", name)
    return await _uploaded(Path(await value.download(folder / "content")), "file", name)


async def _uploaded(path: Path, media: str, name: str) -> Content:
    digest, size = await asyncio.to_thread(_store.measure, path)
    await _blobs.upload_file(path, digest, size)
    return Content(digest, size, media, name)


def _pack(root: Path, archive: Path, ignored: Sequence[str]) -> None:
    """A tar that only depends on names, contents and the executable bit."""
    with tarfile.open(archive, "w", format=tarfile.PAX_FORMAT) as tar:
        for path in sorted(root.rglob("*")):
            name = path.relative_to(root).as_posix()
            if not path.is_file() or any(
                fnmatch.fnmatchcase(name, each) or fnmatch.fnmatchcase(path.name, each)
                for each in ignored
            ):
                continue
            entry = tarfile.TarInfo(name)
            entry.size = path.stat().st_size
            entry.mode = 0o644
            with path.open("rb") as file:
                tar.addfile(entry, file)
