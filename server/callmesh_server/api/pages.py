"""The mesh's pages for browsers at the ingress of a node elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from callmesh_server.api.caller import Caller, CallerKind
from callmesh_server.api.pump import Pump, Spawn
from callmesh_wire.errors import PermissionDeniedError, UnavailableError
from callmeshpb.v1 import node_pb2

CHUNK = 64 * 1024


class PagesApi:
    """Pages of NodeService."""

    def __init__(self, socket: Path | None, spawn: Spawn) -> None:
        """``socket`` is where the pages' process listens."""
        self._socket = socket
        self._spawn = spawn

    async def pages(
        self, requests: AsyncIterator[node_pb2.PagesRequest], caller: Caller
    ) -> AsyncIterator[node_pb2.PagesResponse]:
        """One connection, to its end on either side."""
        if caller.kind is not CallerKind.NODE:
            raise PermissionDeniedError("only a node's agent has browsers to bring to the pages")
        if self._socket is None:
            raise UnavailableError("this server has no pages")
        try:
            reader, writer = await asyncio.open_unix_connection(str(self._socket))
        except OSError as problem:
            raise UnavailableError(f"the pages do not answer: {problem.strerror}") from None

        async def send(request: node_pb2.PagesRequest) -> None:
            writer.write(request.data)
            await writer.drain()

        pump = Pump(self._spawn, requests, send, asyncio.Event(), at_end=writer.write_eof)
        try:
            while data := await reader.read(CHUNK):
                pump.check()
                yield node_pb2.PagesResponse(data=data)
        except ConnectionError:
            return
        finally:
            pump.stop()
            writer.close()
