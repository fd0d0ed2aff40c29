"""The mesh's pages at this node's ingress, when the server is another machine.

Envoy connects to a Unix socket; each connection goes to the server over the
node's channel, byte by byte. While the server is away the connection closes
and Envoy answers by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from pathlib import Path

from callmesh_wire.errors import CallmeshError

CHUNK = 64 * 1024
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

    listener = _listen(path)
    try:
        async with await asyncio.start_unix_server(connected, sock=listener) as server:
            await server.serve_forever()
    finally:
        _remove(path)


def _listen(path: Path) -> socket.socket:
    _remove(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        listener.bind(str(path))
    finally:
        os.umask(before)
    return listener


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)


async def _received(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(CHUNK):
            yield data
