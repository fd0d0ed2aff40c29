"""The mesh's pages at this node's ingress, when the server is another machine.

Envoy connects to a Unix socket; each connection goes to the server over the
node's channel, byte by byte. While the server is away the connection closes
and Envoy answers by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from pathlib import Path

from callmesh_agent.unixsocket import listening
from callmesh_wire.errors import CallmeshError

CHUNK = 64 * 1024
BACKLOG = 128
Tunnel = Callable[[AsyncIterator[bytes]], AsyncGenerator[bytes]]
log = logging.getLogger("callmesh.agent")


async def serve(path: Path, tunnel: Tunnel) -> None:
    """Bring every connection on a Unix socket through ``tunnel``, until cancelled."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with contextlib.aclosing(tunnel(_received(reader))) as answers:
                async for data in answers:
                    writer.write(data)
                    await writer.drain()
        except CallmeshError as problem:
            log.info("the pages cannot be had: %s", problem)
        except ConnectionError:
            return
        finally:
            writer.close()

    server = await asyncio.start_unix_server(connected, sock=listening(path, BACKLOG))
    try:
        await asyncio.get_running_loop().create_future()
    finally:
        # Not waited for: a page that somebody looks at keeps its connection open.
        server.close()


async def _received(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(CHUNK):
            yield data
