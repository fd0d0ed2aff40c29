"""Blobs on disk, named by their SHA-256: `ab/abcdef…`, mode 0600.

A blob appears under its name only when its bytes are complete, checked and on
disk; whoever sees the file may read it.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import os
import secrets
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path

from callmesh_wire.errors import (
    DataLossError,
    ExhaustedError,
    InvalidArgumentError,
    NotFoundError,
)
from callmesh_wire.limits import MAX_BLOB

CHUNK = 1024 * 1024
# How values and lists of files begin: JSON arrays and objects, and pickles.
_MAY_NAME = (b"[", b"{", b"\x80")


class Blobs:
    """A folder of blobs."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, digest: str) -> Path:
        """Where the blob is, or would be."""
        return self._folder / digest[:2] / digest

    def claim(self, digest: str) -> bool:
        """Whether the blob is here, whole; it then counts as asked for now (`hide`)."""
        try:
            os.utime(self.path(digest))
        except FileNotFoundError:
            return False
        return True

    def stored(self) -> dict[str, float]:
        """Every blob's digest, and when it was last asked for. Blocking."""
        found = {}
        for folder in _entries(self._folder):
            if folder.is_dir():
                for each in _entries(folder):
                    with contextlib.suppress(FileNotFoundError):
                        found[each.name] = each.stat().st_mtime
        return found

    def named_in(self, digest: str, digests_in: Callable[[bytes], Iterable[str]]) -> frozenset[str]:
        """The digests in a blob that is JSON or a pickle; others name none. Blocking."""
        found: set[str] = set()
        with contextlib.suppress(FileNotFoundError), self.path(digest).open("rb") as file:
            tail = b""
            while piece := file.read(CHUNK):
                if not tail and not piece.startswith(_MAY_NAME):
                    break
                found.update(digests_in(tail + piece))
                tail = piece[-63:]
        return frozenset(found)

    def hide(self, digest: str, before: float) -> Path | None:
        """Take a blob away that nobody has asked for since then; the file to `delete`.

        Quick, for the thread that `claim` is called in; None where the blob stays.
        """
        path = self.path(digest)
        hidden = self._folder / f".{digest[:16]}.{secrets.token_hex(8)}.removed"
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_mtime < before:
                path.replace(hidden)
                return hidden
        return None

    def delete(self, hidden: Iterable[Path]) -> int:
        """Delete what is hidden; returns its bytes. Blocking."""
        size = 0
        for path in hidden:
            with contextlib.suppress(FileNotFoundError):
                size += path.stat().st_size
                path.unlink()
        return size

    def delete_abandoned(self, before: float) -> None:
        """Delete uploads and hidden blobs that an end of the server cut short. Blocking."""
        for path in _entries(self._folder):
            with contextlib.suppress(FileNotFoundError):
                if path.suffix in (".partial", ".removed") and path.stat().st_mtime < before:
                    path.unlink()

    async def receive(self, digest: str, size: int, chunks: AsyncIterator[bytes]) -> int:
        """Store a blob; returns its size.

        Raises `DataLossError` when the bytes are not what ``digest`` and
        ``size`` say, `ExhaustedError` when the disk is full. The bytes of a blob
        that is here already are not kept.
        """
        if not 0 <= size <= MAX_BLOB:
            raise InvalidArgumentError(
                f"a blob of {size} bytes is refused: it may have {MAX_BLOB} at most"
            )
        target = self.path(digest)
        if self.claim(digest):
            async for _ in chunks:
                pass
            return target.stat().st_size
        partial = self._folder / f".{digest[:16]}.{secrets.token_hex(8)}.partial"
        try:
            await self._fill(partial, digest, size, chunks)
            await asyncio.to_thread(_publish, partial, target)
        except OSError as problem:
            if problem.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise ExhaustedError(
                f"the disk that holds `{self._folder}` is full: no room for a blob of {size} "
                "bytes; make room and try again"
            ) from None
        finally:
            partial.unlink(missing_ok=True)
        return size

    async def _fill(
        self, partial: Path, digest: str, size: int, chunks: AsyncIterator[bytes]
    ) -> None:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        found = hashlib.sha256()
        received = 0
        descriptor = os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            async for chunk in chunks:
                received += len(chunk)
                if received > size:
                    break
                await asyncio.to_thread(_append, file, found, chunk)
            if received != size or found.hexdigest() != digest:
                raise DataLossError(
                    f"blob `{digest}` of {size} bytes came with {received} bytes and the digest "
                    f"`{found.hexdigest()}`: send it again"
                )
            await asyncio.to_thread(_flush, file)

    async def chunks(self, digest: str) -> AsyncIterator[bytes]:
        """The blob's bytes in order, at most `CHUNK` each. Unknown: `NotFoundError`."""
        try:
            file = self.path(digest).open("rb")
        except FileNotFoundError:
            raise NotFoundError(
                f"there is no blob `{digest}`: deploy again, so that it is uploaded"
            ) from None
        with file:
            while chunk := await asyncio.to_thread(file.read, CHUNK):
                yield chunk


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except FileNotFoundError:
        return []


def _append(file: object, found: object, chunk: bytes) -> None:
    file.write(chunk)  # type: ignore[attr-defined]
    found.update(chunk)  # type: ignore[attr-defined]


def _flush(file: object) -> None:
    file.flush()  # type: ignore[attr-defined]
    os.fsync(file.fileno())  # type: ignore[attr-defined]


def _publish(partial: Path, target: Path) -> None:
    target.parent.mkdir(exist_ok=True, mode=0o700)
    partial.replace(target)
    for folder in (target.parent, target.parent.parent):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
