"""Blobs on this node's disk: files, large values and parameters, each fetched once.

A blob is a file named by its digest, checked before it is first used in an
agent's life: a loss of power may have left a part of it. What was not used
for long makes room for what is; whoever reads a blob that goes reads on.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import os
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Protocol

from callmesh_agent import shelf
from callmesh_agent.shelf import Entry
from callmesh_wire.errors import DataLossError

PIECE = 1 << 20
# What nothing has used is kept for a week.
KEEP_SECONDS = 7 * 24 * 3600.0
log = logging.getLogger("callmesh.agent")


class Source(Protocol):
    """Where bytes come from."""

    def download(self, digest: str) -> AsyncGenerator[bytes]:
        """A blob's bytes in order, not checked. Raises `CallmeshError`."""
        ...


@dataclass(slots=True)
class _Gate:
    """One of those who want a blob looks for it, the others wait for what it finds."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    asking: int = 0


class Blobs:
    """The blobs folder of one node."""

    def __init__(
        self, folder: Path, cap: int, source: Source, in_use: Callable[[], Collection[str]]
    ) -> None:
        """At most ``cap`` bytes are kept, 0: nothing is; what is ``in_use`` is kept in any case."""
        self._folder = folder
        self._cap = cap
        self._source = source
        self._in_use = in_use
        self._gates: dict[str, _Gate] = {}
        # The longest unused first, and the bytes of all.
        self._entries: dict[str, Entry] = {}
        self._bytes = 0
        # Their bytes were seen in this agent's life.
        self._checked: set[str] = set()

    @property
    def keeps(self) -> bool:
        """Whether anything is kept."""
        return self._cap > 0

    def find(self) -> None:
        """Look at what an agent of before has left; once, before anything else."""
        if not self.keeps:
            return
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        entries = {}
        for path in self._folder.iterdir():
            if not is_digest(path.name):
                path.unlink()
                continue
            found = path.stat()
            entries[path.name] = Entry(found.st_size, found.st_mtime)
        for digest, entry in sorted(entries.items(), key=lambda each: each[1].used_at):
            self._put(digest, entry)
        self._make_room()

    def entries(self) -> dict[str, Entry]:
        """Each blob that is kept."""
        return dict(self._entries)

    async def open(self, digest: str) -> BinaryIO:
        """A blob's bytes, which stay readable whatever becomes of the file.

        Raises `CallmeshError`, or OSError where this disk has no room for it.
        """
        async with self._gate(digest):
            path = self._folder / digest
            if not await self._is_here(digest):
                await self.fetch(digest, path)
                self._take_in(digest)
            file = path.open("rb")
        self._used(digest)
        return file

    async def fetch(self, digest: str, target: Path) -> None:
        """Write a blob to ``target``, whole and checked, or raise `CallmeshError` or OSError."""
        received = Received(target.with_name(f".{os.urandom(8).hex()}.part"))
        try:
            received.begin(digest)
            async with contextlib.aclosing(self._source.download(digest)) as pieces:
                async for data in pieces:
                    await asyncio.to_thread(received.add, data)
            if not await asyncio.to_thread(received.end):
                raise DataLossError(f"blob `{digest}` is damaged: deploy again to send it anew")
            received.path.replace(target)
        finally:
            received.drop()

    async def place(self, digest: str, target: Path) -> None:
        """Have a blob at ``target``, on the same disk. Raises `CallmeshError` or OSError."""
        if not self.keeps:
            await self.fetch(digest, target)
            return
        (await self.open(digest)).close()
        with contextlib.suppress(FileNotFoundError):
            os.link(self._folder / digest, target)
            return
        # It is larger than everything that may be kept.
        await self.fetch(digest, target)

    def receiving(self) -> Received:
        """What a workload uploads, to be kept as well."""
        return Received(self._folder / f".{os.urandom(8).hex()}.part")

    def keep(self, received: Received) -> None:
        """Take over an upload whose digest is proved. Raises OSError."""
        received.path.replace(self._folder / received.digest)
        self._take_in(received.digest)
        self._make_room()

    def remove_old(self, now: float) -> list[str]:
        """Remove what nothing has used for a week; the digests."""
        gone = shelf.surplus(
            self._entries, self._in_use(), now, cap=self._cap, keep_seconds=KEEP_SECONDS
        )
        self._remove(gone)
        return gone

    @contextlib.asynccontextmanager
    async def _gate(self, digest: str) -> AsyncIterator[None]:
        gate = self._gates.setdefault(digest, _Gate())
        gate.asking += 1
        try:
            async with gate.lock:
                yield
        finally:
            gate.asking -= 1
            if not gate.asking:
                del self._gates[digest]

    async def _is_here(self, digest: str) -> bool:
        path = self._folder / digest
        if not path.exists():
            self._forget(digest)
            return False
        if digest in self._checked:
            return True
        if await asyncio.to_thread(_digest_of, path) == digest:
            self._checked.add(digest)
            return True
        log.warning("blob `%s` on this node's disk is damaged, and fetched again", digest)
        self._remove([digest])
        return False

    def _take_in(self, digest: str) -> None:
        size = (self._folder / digest).stat().st_size
        self._put(digest, Entry(size, time.time()))
        self._checked.add(digest)

    def _used(self, digest: str) -> None:
        entry = self._entries.get(digest)
        if entry is not None:
            self._put(digest, Entry(entry.size, time.time()))
            os.utime(self._folder / digest)
        self._make_room()

    def _put(self, digest: str, entry: Entry) -> None:
        before = self._entries.pop(digest, None)
        self._bytes += entry.size - (before.size if before else 0)
        self._entries[digest] = entry

    def _make_room(self) -> None:
        """Remove the longest unused until the rest is within the cap."""
        excess = self._bytes - self._cap
        if excess <= 0:
            return
        in_use = self._in_use()
        gone = []
        for digest, entry in self._entries.items():
            if digest not in in_use:
                gone.append(digest)
                excess -= entry.size
                if excess <= 0:
                    break
        self._remove(gone)

    def _remove(self, digests: Collection[str]) -> None:
        for digest in digests:
            with contextlib.suppress(FileNotFoundError):
                (self._folder / digest).unlink()
            self._forget(digest)

    def _forget(self, digest: str) -> None:
        gone = self._entries.pop(digest, None)
        self._bytes -= gone.size if gone else 0
        self._checked.discard(digest)


class Received:
    """The bytes of one blob as they come, in a file without a name yet."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.digest = ""
        self._file: BinaryIO | None = None
        self._seen = hashlib.sha256()

    @property
    def begun(self) -> bool:
        """Whether its digest is known."""
        return self._file is not None

    def begin(self, digest: str) -> None:
        """Name what will come. Raises OSError."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        self._file = os.fdopen(os.open(self.path, flags, 0o600), "wb")
        self.digest = digest

    def add(self, data: bytes) -> None:
        """One more piece. Raises OSError."""
        assert self._file is not None
        self._seen.update(data)
        self._file.write(data)

    def end(self) -> bool:
        """Everything has come: whether it is what its digest says. Raises OSError."""
        if self._file is None:
            return False
        self._file.close()
        return self._seen.hexdigest() == self.digest

    def drop(self) -> None:
        """Remove what has no name."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
        with contextlib.suppress(OSError):
            self.path.unlink()


def is_digest(text: str) -> bool:
    """Whether it is a SHA-256 in hex, and so a file name that leads nowhere else."""
    return len(text) == 64 and all(each in "0123456789abcdef" for each in text)


def _digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
