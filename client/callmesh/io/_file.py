"""A file by reference."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any
from urllib.parse import urlsplit

import pydantic

from callmesh import _copies
from callmesh._sync import bridge
from callmesh.io import _store
from callmesh.io._handle import OpenFile
from callmesh.io._reference import PENDING, _Reference
from callmesh_wire.errors import FailedPreconditionError


class File(_Reference):
    """A file's place, name, SHA-256 and size in bytes; the last two where they are known.

    ``path`` is `callmesh://<sha256>` for what the mesh keeps. A value of this
    type may be an input or an output, alone or within other values; its content
    is read where it is opened or downloaded. ``File[T]`` is the same type.
    """

    model_config = pydantic.ConfigDict(json_schema_extra={"x-callmesh": "file"})

    size: int | None = None

    @classmethod
    async def from_local(
        cls,
        local_path: str | Path,
        remote_destination: str | None = None,
        hash_method: object = None,
    ) -> File:
        """Store a file of this machine; a reference to its content as it is then.

        Raises `FileNotFoundError`. ``remote_destination`` has no meaning here:
        content is named by its hash.
        """
        del remote_destination, hash_method
        source = _file_at(local_path)
        path, digest, size = await _store.put(source)
        return cls(path=path, name=source.name, hash=digest, size=size)

    @classmethod
    def from_local_sync(
        cls,
        local_path: str | Path,
        remote_destination: str | None = None,
        hash_method: object = None,
    ) -> File:
        """`from_local` for blocking code."""
        return bridge().run(cls.from_local(local_path, remote_destination, hash_method))

    @classmethod
    def from_existing_remote(cls, remote_path: str, file_cache_key: str | None = None) -> File:
        """A reference to what is there: `http(s)://`, `callmesh://`, or a path.

        A path must be the same file for every node that reads it.
        """
        name = PurePosixPath(urlsplit(remote_path).path).name or None
        digest = _store.digest_of(remote_path) if remote_path.startswith(_store.SCHEME) else None
        return cls(path=remote_path, name=name, hash=file_cache_key or digest)

    @classmethod
    def new_remote(cls, file_name: str | None = None, hash_method: object = None) -> File:
        """A file that is still to be written, by `open("wb")`: its `path` is set by that."""
        del hash_method
        return cls(path=f"{PENDING}{file_name or 'file'}", name=file_name)

    named_remote = new_remote

    @contextlib.asynccontextmanager
    async def open(self, mode: str = "rb", **_options: object) -> AsyncIterator[OpenFile]:
        """Read it (``rb``, ``r``) or write it (``wb``, ``w``).

        What was written is stored when the block ends without an error. Raises
        `NotFoundError` for content that is not there any more.
        """
        with _store.scratch() as folder:
            target = folder / "content"
            if _reads(mode):
                await _store.fetch(self._location(), target)
            with target.open(mode) as file:
                yield OpenFile(file)
            if not _reads(mode):
                self.path, self.hash, self.size = await _store.put(target)

    @contextlib.contextmanager
    def open_sync(self, mode: str = "rb", **_options: object) -> Iterator[IO[Any]]:
        """`open` for blocking code."""
        with _store.scratch() as folder:
            target = folder / "content"
            if _reads(mode):
                bridge().run(_store.fetch(self._location(), target))
            with target.open(mode) as file:
                yield file
            if not _reads(mode):
                self.path, self.hash, self.size = bridge().run(_store.put(target))

    async def download(self, local_path: str | Path | None = None) -> str:
        """Write it to a path, or into a folder, of this machine; the path of the copy.

        Without one it is a new folder, which in a run is deleted when the
        attempt has ended.
        """
        target = _target(local_path, PurePosixPath(self.name or "file").name)
        await _store.fetch(self._location(), target)
        return str(target)

    def _location(self) -> str:
        if self._is_pending():
            raise FailedPreconditionError(
                f"file `{self.name or 'file'}` was not written yet: write it first, with "
                '`open("wb")`'
            )
        return self.path


def _reads(mode: str) -> bool:
    if mode not in ("r", "rt", "rb", "w", "wt", "wb"):
        raise ValueError(f'`mode` must be "rb", "r", "wb" or "w", not {mode!r}')
    return mode.startswith("r")


def _file_at(path: str | Path) -> Path:
    source = Path(path).expanduser()
    if not source.is_file():
        raise FileNotFoundError(f"there is no file `{source}` to make a `File` of")
    return source


def _target(path: str | Path | None, name: str) -> Path:
    if path is None:
        return _copies.folder() / name
    target = Path(path).expanduser()
    return target / name if target.is_dir() or str(path).endswith("/") else target
