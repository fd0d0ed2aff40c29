"""uvicorn as an app instance runs it: on the socket that the node's agent opened.

New calls wait in that socket's backlog while an instance starts, and nobody
else can take its port. Connections are kept longer than the node's Envoy keeps
them, so that Envoy never sends a request into one that is being closed.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Callable, Coroutine
from types import FrameType
from typing import TYPE_CHECKING, Any

from callmesh._code import CodeProblem
from callmesh._one_write import one_write

try:
    import uvicorn
except ImportError:
    raise CodeProblem(
        "uvicorn is not installed in this app's environment: `pip install 'callmesh[fastapi]'`, "
        "or add it to the app's image"
    ) from None

if TYPE_CHECKING:
    Serve = Callable[[], Coroutine[object, object, None]]

KEEP_ALIVE = 65
# KILL follows TERM after 10 s: this leaves time to lifespan and on_shutdown.
GRACEFUL = 5
_TICK = 1.0


class Server(uvicorn.Server):
    """uvicorn without its ten wake-ups a second: it ticks once, for the Date header."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake = asyncio.Event()

    async def main_loop(self) -> None:
        """Run until a signal or a limit ends it."""
        self._loop = asyncio.get_running_loop()
        # 0 is the counter value at which uvicorn renews its headers.
        while not await self.on_tick(0):
            try:
                await asyncio.wait_for(self._wake.wait(), _TICK)
            except TimeoutError:
                continue

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal: also wakes the loop."""
        super().handle_exit(sig, frame)
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._wake.set)


def server(app: Any, config: uvicorn.Config | None, listen_fd: int) -> Serve:
    """The server function of an ASGI app.

    ``config`` is the user's own: it is honoured but for where to listen, TLS,
    workers and reloading, which are the mesh's.
    """
    made = uvicorn.Config(app, access_log=False) if config is None else config
    _adapt(made)
    made.load()
    made.http_protocol_class = one_write(made.http_protocol_class)

    async def serve() -> None:
        await Server(made).serve(sockets=[_listener(listen_fd)])

    return serve


def _adapt(config: uvicorn.Config) -> None:
    if config.is_ssl:
        sys.stderr.write(
            "callmesh: the app's TLS settings are not used: calls come through the mesh\n"
        )
    config.ssl_keyfile = config.ssl_certfile = None
    config.workers = 1
    config.reload = False
    config.timeout_keep_alive = max(config.timeout_keep_alive, KEEP_ALIVE)
    config.timeout_graceful_shutdown = min(config.timeout_graceful_shutdown or GRACEFUL, GRACEFUL)


def _listener(listen_fd: int) -> socket.socket:
    """The inherited socket; without one, a socket of our own on ``PORT``."""
    if listen_fd >= 0:
        return socket.socket(fileno=listen_fd)
    own = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    own.bind(("127.0.0.1", int(os.environ.get("PORT", "8080"))))
    return own
