"""An open file whose answers may be awaited or used at once.

Examples are written both ways: `await file.read()`, and `file.read()` inside
`async with`. The content is on this machine by then, so neither waits.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from typing import IO, Any


class _Bytes(bytes):
    def __await__(self) -> Generator[None, None, bytes]:
        yield from ()
        return bytes(self)


class _Text(str):
    __slots__ = ()

    def __await__(self) -> Generator[None, None, str]:
        yield from ()
        return str(self)


class _Number(int):
    def __await__(self) -> Generator[None, None, int]:
        yield from ()
        return int(self)


class _Lines(list[Any]):
    def __await__(self) -> Generator[None, None, list[Any]]:
        yield from ()
        return list(self)


class OpenFile:
    """What `File.open` gives: the methods of Python's own files."""

    def __init__(self, file: IO[Any]) -> None:
        self._file = file

    def read(self, size: int = -1) -> Any:
        """The next ``size`` bytes or characters; the rest without it."""
        return _answer(self._file.read(size))

    def readline(self) -> Any:
        """The next line; empty at the end."""
        return _answer(self._file.readline())

    def readlines(self) -> Any:
        """The lines that are left."""
        return _Lines(self._file.readlines())

    def write(self, data: Any) -> Any:
        """Write; how much that was."""
        return _Number(self._file.write(data))

    def writelines(self, lines: Iterable[Any]) -> Any:
        """Write lines, which bring their ends along."""
        return _Number(sum(self._file.write(line) for line in lines))

    def seek(self, offset: int, whence: int = 0) -> Any:
        """Go to a place; that place."""
        return _Number(self._file.seek(offset, whence))

    def tell(self) -> Any:
        """The place."""
        return _Number(self._file.tell())

    def flush(self) -> Any:
        """Nothing is left in memory."""
        self._file.flush()
        return _Number(0)

    def close(self) -> Any:
        """Nothing more is read or written."""
        self._file.close()
        return _Number(0)

    @property
    def closed(self) -> bool:
        """It was closed."""
        return self._file.closed

    def __iter__(self) -> Iterator[Any]:
        return iter(self._file)

    async def __aiter__(self) -> Any:
        for line in self._file:
            yield line


def _answer(data: Any) -> Any:
    return _Text(data) if isinstance(data, str) else _Bytes(data)
