"""A directory by reference: the names of its files, each with its content's reference."""

from __future__ import annotations

import asyncio
import fnmatch
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import pydantic

from callmesh import _copies
from callmesh._sync import bridge
from callmesh.io import _store
from callmesh.io._file import File
from callmesh.io._reference import PENDING, _Reference
from callmesh_wire.errors import DataLossError, InvalidArgumentError

# Files of one directory that travel at once.
WINDOW = 16


class Dir(_Reference):
    """A directory's place and name. ``Dir[T]`` is the same type.

    ``path`` is `callmesh://<sha256>` of its list of files for what the mesh
    keeps, or a path of the machine. Empty folders are not kept.
    """

    model_config = pydantic.ConfigDict(json_schema_extra={"x-callmesh": "dir"})

    @classmethod
    async def from_local(
        cls,
        local_path: str | Path,
        remote_destination: str | None = None,
        dir_cache_key: str | None = None,
    ) -> Dir:
        """Store a directory of this machine, links followed; a reference to it as it is then.

        Raises `NotADirectoryError`.
        """
        del remote_destination
        root = _folder(local_path)
        paths = await asyncio.to_thread(_files_under, root)
        slots = asyncio.Semaphore(WINDOW)

        async def one(path: Path) -> dict[str, Any]:
            async with slots:
                place, digest, size = await _store.put(path)
            name = path.relative_to(root).as_posix()
            return {"name": name, "path": place, "hash": digest, "size": size}

        entries = await asyncio.gather(*map(one, paths))
        return await cls._listed(entries, _name_of(root), dir_cache_key)

    @classmethod
    def from_local_sync(
        cls,
        local_path: str | Path,
        remote_destination: str | None = None,
        dir_cache_key: str | None = None,
    ) -> Dir:
        """`from_local` for blocking code."""
        return bridge().run(cls.from_local(local_path, remote_destination, dir_cache_key))

    @classmethod
    def from_existing_remote(cls, remote_path: str, dir_cache_key: str | None = None) -> Dir:
        """A reference to what is there: `callmesh://`, or a path that every node has.

        Raises `InvalidArgumentError` for a web address, which lists no files.
        """
        if _store.is_web(remote_path):
            raise InvalidArgumentError(
                f"`{remote_path}` cannot be a `Dir`: a web address lists no files; make a `File` "
                "of each with `File.from_existing_remote`"
            )
        return cls(path=remote_path, name=PurePosixPath(remote_path).name, hash=dir_cache_key)

    @classmethod
    def new_remote(cls, dir_name: str | None = None, hash: str | None = None) -> Dir:  # noqa: A002 - Flyte's
        """A directory without a file yet: `add` puts files into it."""
        return cls(path=f"{PENDING}{dir_name or 'dir'}", name=dir_name, hash=hash)

    async def add(self, file: File, name: str | None = None) -> None:
        """Put a file into it, under ``name`` (which may hold `/`) or the file's own."""
        entries = [each async for each in self._entries()]
        added = _checked({**file.model_dump(), "name": name or file.name or "file"})
        kept = [each for each in entries if each["name"] != added["name"]]
        changed = await self._listed([*kept, added], self.name or "", None)
        self.path, self.hash = changed.path, changed.hash

    async def walk(
        self,
        recursive: bool = True,  # noqa: FBT001, FBT002 - Flyte's signature
        max_depth: int | None = None,
        file_pattern: str = "*",
    ) -> AsyncIterator[File]:
        """Its files in the order of their names; ``name`` of each is relative to it."""
        depth = max_depth if recursive else 1
        async for each in self._entries():
            parts = PurePosixPath(each["name"]).parts
            fits = fnmatch.fnmatchcase(parts[-1], file_pattern)
            if fits and (depth is None or len(parts) <= depth):
                yield File(**each)

    def walk_sync(
        self,
        recursive: bool = True,  # noqa: FBT001, FBT002 - Flyte's signature
        file_pattern: str = "*",
        max_depth: int | None = None,
    ) -> Iterator[File]:
        """`walk` for blocking code."""
        return iter(bridge().run(_all(self.walk(recursive, max_depth, file_pattern=file_pattern))))

    async def list_files(self) -> list[File]:
        """The files that are directly in it."""
        return await _all(self.walk(recursive=False))

    def list_files_sync(self) -> list[File]:
        """`list_files` for blocking code."""
        return bridge().run(self.list_files())

    async def get_file(self, file_name: str) -> File | None:
        """The file of that name, relative to it; None if there is none."""
        async for each in self.walk():
            if each.name == file_name:
                return each
        return None

    def get_file_sync(self, file_name: str) -> File | None:
        """`get_file` for blocking code."""
        return bridge().run(self.get_file(file_name))

    async def download(self, local_path: str | Path | None = None) -> str:
        """Write all of it under a path of this machine; the path of the copy.

        Without one it is a new folder, which in a run is deleted when the
        attempt has ended.
        """
        target = _made(local_path or _copies.folder() / (self.name or "dir"))
        slots = asyncio.Semaphore(WINDOW)

        async def one(file: File) -> None:
            async with slots:
                await _store.fetch(file.path, target / str(file.name))

        await asyncio.gather(*[one(each) for each in await _all(self.walk())])
        return str(target)

    @classmethod
    async def _listed(cls, entries: list[dict[str, Any]], name: str, key: str | None) -> Dir:
        with _store.scratch() as folder:
            path = folder / "files"
            ordered = sorted(entries, key=lambda each: each["name"])
            path.write_text(json.dumps({"callmesh_dir": 1, "files": ordered}, sort_keys=True))
            place, digest, _ = await _store.put(path)
        return cls(path=place, name=name or None, hash=key or digest)

    async def _entries(self) -> AsyncIterator[dict[str, Any]]:
        if self._is_pending():
            return
        if not self.path.startswith(_store.SCHEME) and _store.path_of(self.path).is_dir():
            root = _store.path_of(self.path)
            for path in await asyncio.to_thread(_files_under, root):
                yield {"name": path.relative_to(root).as_posix(), "path": str(path)}
            return
        with _store.scratch() as folder:
            await _store.fetch(self.path, folder / "files")
            text = (folder / "files").read_text()
        try:
            entries = json.loads(text)["files"]
        except (ValueError, KeyError, TypeError):
            raise DataLossError(f"`{self.path}` is no directory's list of files") from None
        for each in entries:
            yield _checked(each)


async def _all(files: AsyncIterator[File]) -> list[File]:
    return [each async for each in files]


def _folder(path: str | Path) -> Path:
    root = Path(path).expanduser()
    if not root.is_dir():
        raise NotADirectoryError(f"there is no directory `{root}` to make a `Dir` of")
    return root


def _name_of(root: Path) -> str:
    return root.resolve().name


def _made(path: str | Path) -> Path:
    target = Path(path).expanduser()
    target.mkdir(parents=True, exist_ok=True)
    return target


def _files_under(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.is_file())


def _checked(entry: dict[str, Any]) -> dict[str, Any]:
    """An entry whose name stays within the directory."""
    parts = PurePosixPath(entry["name"])
    if parts.is_absolute() or ".." in parts.parts or not parts.parts:
        raise InvalidArgumentError(f"`{entry['name']}` leads out of the directory")
    return entry
