"""A response's head and body leave in one write.

uvicorn writes them apart. A process that is killed between the two has begun
an answer that it never ends, and no proxy can repeat a call whose answer has
begun. What is written in one turn of the event loop is sent together here: a
short answer is whole or has not begun. It also saves a system call an answer.
"""

from __future__ import annotations

import asyncio
from typing import Any

# More than this is sent at once: it is no short answer.
LARGE = 64 * 1024


class JoinedTransport:
    """An asyncio transport whose writes of one loop turn are joined."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._parts: list[bytes] = []
        self._size = 0

    def write(self, data: bytes) -> None:
        """Send ``data`` at the end of this turn, after what came before it."""
        if not self._parts:
            self._loop.call_soon(self._flush)
        self._parts.append(data)
        self._size += len(data)
        if self._size > LARGE:
            self._flush()

    def writelines(self, data: list[bytes]) -> None:
        """The same for several pieces."""
        for part in data:
            self.write(part)

    def write_eof(self) -> None:
        """End the sending side, after what was written."""
        self._flush()
        self._transport.write_eof()

    def close(self) -> None:
        """Close it, after what was written."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._parts:
            parts, self._parts, self._size = self._parts, [], 0
            self._transport.write(parts[0] if len(parts) == 1 else b"".join(parts))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


def one_write(protocol: type[Any]) -> type[Any]:
    """uvicorn's HTTP protocol class, on a `JoinedTransport`."""

    class OneWrite(protocol):  # type: ignore[misc]
        def connection_made(self, transport: asyncio.Transport) -> None:
            super().connection_made(JoinedTransport(transport, self.loop))

    return OneWrite
