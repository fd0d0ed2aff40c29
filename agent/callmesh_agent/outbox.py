"""What waits to be sent in a session: of each thing, only what is true now.

Reports are levels: a later one of the same thing replaces the one that waits,
in its place, so the outbox is bounded by how many things there are. Log lines
are not levels: whoever adds them waits for room.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Hashable, Iterator

from callmesh_wire.batches import batches
from callmeshpb.v1 import node_pb2

LOG_CHUNKS = 32


class Outbox:
    """The messages of one session, in order."""

    def __init__(self) -> None:
        self._waiting: dict[Hashable, node_pb2.AgentMessage] = {}
        self._wake = asyncio.Event()
        self._room = asyncio.Event()
        self._serial = 0
        self._chunks = 0
        self._closed = False

    def put(self, message: node_pb2.AgentMessage, key: Hashable = None) -> None:
        """Add a message; with a key, in place of the one that waits under it."""
        if key is None:
            self._serial += 1
            key = self._serial
        self._waiting[key] = message
        self._wake.set()

    async def put_chunk(self, chunk: node_pb2.LogChunk) -> bool:
        """Add log lines, once there is room. False when the session has ended."""
        while self._chunks >= LOG_CHUNKS and not self._closed:
            self._room.clear()
            await self._room.wait()
        if self._closed:
            return False
        self._chunks += 1
        self.put(node_pb2.AgentMessage(log=chunk))
        return True

    def close(self) -> None:
        """The session has ended: nobody waits any longer."""
        self._closed = True
        self._room.set()

    async def stream(self) -> AsyncGenerator[list[node_pb2.AgentMessage]]:
        """Take all that waits, again and again, for as long as the session lasts."""
        while True:
            while self._waiting:
                yield next(batches(self._take()))
            self._wake.clear()
            await self._wake.wait()

    def _take(self) -> Iterator[node_pb2.AgentMessage]:
        """What waits, in order; each is taken when the next is asked for."""
        for key in list(self._waiting):
            message = self._waiting[key]
            yield message
            del self._waiting[key]
            if message.HasField("log"):
                self._chunks -= 1
                self._room.set()
