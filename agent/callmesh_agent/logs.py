"""Log files of instances and workers, read for whoever asks: the end, or on and on.

A file is followed by the kernel's word that it changed, not by looking. Chunks
are bounded, and wait for room in the session.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
from collections import OrderedDict
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from asyncinotify import Inotify, Mask

from callmeshpb.v1 import node_pb2

MAX_LINE = 64 * 1024
MAX_TAIL = 100_000
DEFAULT_TAIL = 1000
# Bytes that are read backwards for a tail, and forwards at once.
MAX_SEARCH = 16 * 1024 * 1024
BLOCK = 64 * 1024
CHUNK_LINES = 500
CHUNK_BYTES = 256 * 1024
REMEMBERED = 4096

Send = Callable[[node_pb2.LogChunk], Awaitable[bool]]


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a file, in bytes; ``end`` None: to wherever the file ends."""

    path: Path
    start: int = 0
    end: int | None = None


class Line(NamedTuple):
    """A line without its newline, and the position in its file behind it."""

    text: str
    end: int


def last_lines(path: str, start: int, count: int) -> tuple[str, ...]:
    """The last lines that a process wrote, whose log began at ``start``; at most 64 KiB."""
    try:
        size = Path(path).stat().st_size
        lines, _ = _tail(Part(Path(path), max(start if start <= size else 0, size - BLOCK)), count)
    except OSError:
        return ()
    return tuple(line.text for line in lines)


class Logs:
    """The readers of one node."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._streams: dict[str, asyncio.Task[None]] = {}
        # Who follows a file, to be told of what the kernel does not know.
        self._followers: dict[Path, set[asyncio.Event]] = {}
        # Where attempts ended in their worker's file, by worker and start.
        self._ends: OrderedDict[tuple[str, int], int] = OrderedDict()

    def attempt_began(self, worker: str, start: int) -> None:
        """An attempt writes to its worker's file; one that wrote nothing has begun there too."""
        self._ends.pop((worker, start), None)

    def attempt_ended(self, worker: str, start: int, end: int) -> None:
        """An attempt's part of its worker's file is complete; 0: at its present size."""
        if not end:
            try:
                end = self._worker_file(worker).stat().st_size
            except FileNotFoundError:
                end = start
        self._ends[worker, start] = end
        if len(self._ends) > REMEMBERED:
            self._ends.popitem(last=False)
        if self._followers:
            for event in self._followers.get(self._worker_file(worker), ()):
                event.set()

    def open(self, group: asyncio.TaskGroup, request: node_pb2.LogRequest, send: Send) -> None:
        """Answer a request by chunks, the last with ``end``."""
        stream_id = request.stream_id
        task = group.create_task(self._serve(request, send))
        self._streams[stream_id] = task
        task.add_done_callback(lambda _: self._streams.pop(stream_id, None))

    def cancel(self, stream_id: str) -> None:
        """Nobody listens any more."""
        task = self._streams.get(stream_id)
        if task is not None:
            task.cancel()

    async def _serve(self, request: node_pb2.LogRequest, send: Send) -> None:
        try:
            async with contextlib.aclosing(self._lines(request)) as pieces:
                async for lines in pieces:
                    chunk = node_pb2.LogChunk(
                        stream_id=request.stream_id,
                        lines=[line.text for line in lines],
                        position=lines[-1].end,
                    )
                    if not await send(chunk):
                        return
            last = node_pb2.LogChunk(stream_id=request.stream_id, end=True)
        except OSError as problem:
            why = f"its log cannot be read: {problem.strerror or problem}"
            last = node_pb2.LogChunk(stream_id=request.stream_id, end=True, error=why)
        await send(last)

    async def _lines(self, request: node_pb2.LogRequest) -> AsyncGenerator[list[Line], None]:
        part = self._part(request)
        count = min(request.tail_lines or DEFAULT_TAIL, MAX_TAIL)
        lines: list[Line] = []
        position = request.resume or part.start
        if request.resume and not request.follow:
            end = part.end or _size(part.path)
            while position < end:
                lines, position = _forward(Part(part.path, position, end))
                for piece in _pieces(lines):
                    yield piece
                if not lines:
                    break
            return
        if part.path.exists() and not request.resume:
            lines, position = await asyncio.to_thread(
                _tail, part, count, to_the_end=not request.follow
            )
        for piece in _pieces(lines):
            yield piece
        if not request.follow or (part.end is not None and position >= part.end):
            return
        with self._following(part.path) as changed:
            while True:
                changed.clear()
                end = self._end_of(request)
                lines, position = _forward(Part(part.path, position, end))
                for piece in _pieces(lines):
                    yield piece
                if end is not None and position >= end:
                    return
                if not lines:
                    await changed.wait()

    @contextlib.contextmanager
    def _following(self, path: Path) -> Iterator[asyncio.Event]:
        changed = asyncio.Event()
        self._followers.setdefault(path, set()).add(changed)
        try:
            with _told_of_changes(path, changed):
                yield changed
        finally:
            self._followers[path].discard(changed)
            if not self._followers[path]:
                del self._followers[path]

    def _part(self, request: node_pb2.LogRequest) -> Part:
        if request.WhichOneof("source") == "instance_id":
            name = Path(request.instance_id).name
            return Part(self._folder / "app" / f"{name}.log")
        attempt = request.attempt
        return Part(self._worker_file(attempt.worker), attempt.start, attempt.end or None)

    def _end_of(self, request: node_pb2.LogRequest) -> int | None:
        if request.WhichOneof("source") != "attempt":
            return None
        attempt = request.attempt
        return attempt.end or self._ends.get((attempt.worker, attempt.start))

    def _worker_file(self, worker: str) -> Path:
        return self._folder / "worker" / f"{Path(worker).name}.log"


@contextlib.contextmanager
def _told_of_changes(path: Path, changed: asyncio.Event) -> Iterator[None]:
    """Have the kernel set ``changed`` whenever the file is made or written."""
    loop = asyncio.get_running_loop()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with Inotify() as inotify:
        inotify.add_watch(path.parent, Mask.CREATE)

        def follow() -> None:
            with contextlib.suppress(FileNotFoundError):
                inotify.add_watch(path, Mask.MODIFY)

        def heard() -> None:
            with contextlib.suppress(BlockingIOError):
                os.read(inotify.fd, BLOCK)
            follow()
            changed.set()

        follow()
        loop.add_reader(inotify.fd, heard)
        try:
            yield
        finally:
            loop.remove_reader(inotify.fd)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _tail(part: Part, count: int, *, to_the_end: bool = True) -> tuple[list[Line], int]:
    """The last lines of a part, and where reading goes on behind them."""
    with part.path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        end = size if part.end is None else min(part.end, size)
        start = part.start if part.start <= size else 0
        position = end
        text = b""
        while position > start and text.count(b"\n") <= count and end - position < MAX_SEARCH:
            step = min(BLOCK, position - start)
            position -= step
            file.seek(position)
            text = file.read(step) + text
    if not to_the_end:
        # What has no newline yet is read on by who follows.
        whole = text.rfind(b"\n") + 1
        end -= len(text) - whole
        text = text[:whole]
    lines = _split(text, position)
    return lines[-count:] if count else [], end


def _forward(part: Part) -> tuple[list[Line], int]:
    """The whole lines from a position on, and the position behind them."""
    try:
        with part.path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            # Shortened meanwhile: what is in it now is new.
            start = part.start if part.start <= size else 0
            file.seek(start)
            limit = MAX_LINE * 4 if part.end is None else min(MAX_LINE * 4, part.end - start)
            text = file.read(max(0, limit))
    except FileNotFoundError:
        return [], part.start
    whole = text.rfind(b"\n") + 1
    is_complete = part.end is not None and start + len(text) >= part.end
    if is_complete or (not whole and len(text) >= MAX_LINE):
        whole = len(text)
    return _split(text[:whole], start), start + whole


def _split(text: bytes, start: int) -> list[Line]:
    """Text that begins at a position of its file, as lines."""
    found = []
    for raw in io.BytesIO(text):
        start += len(raw)
        found.append(Line(_line(raw.removesuffix(b"\n")), start))
    return found


def _line(raw: bytes) -> str:
    if len(raw) > MAX_LINE:
        raw = raw[:MAX_LINE]
    return raw.decode(errors="replace").removesuffix("\r")


def _pieces(lines: list[Line]) -> list[list[Line]]:
    pieces: list[list[Line]] = []
    size = 0
    for line in lines:
        length = len(line.text)
        if not pieces or len(pieces[-1]) >= CHUNK_LINES or size + length > CHUNK_BYTES:
            pieces.append([])
            size = 0
        pieces[-1].append(line)
        size += length
    return pieces
