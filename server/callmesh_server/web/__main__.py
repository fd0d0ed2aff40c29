"""The pages' process: ``python -m callmesh_server.web --fd N --api R/api.sock``.

`callmesh up` listens on the pages' Unix socket and starts this process when
the first connection arrives there, handing the listening socket down as file
descriptor N. The process ends after ``--idle`` seconds without a request, and
`up` (whose socket it still is: what arrives meanwhile waits in the backlog)
starts another when it is needed. When its parent dies, however, it dies too.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import os
import signal
import socket
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from callmesh_server.web.mesh import Mesh
from callmesh_server.web.site import build

IDLE = 600.0
BACKLOG = 128
GRACE = 2
PR_SET_PDEATHSIG = 1


class Watched:
    """The pages, and whether anybody asks for them."""

    def __init__(self, pages: ASGIApp) -> None:
        self._pages = pages
        self._busy = 0
        self._asked = asyncio.Event()
        self.listens = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._busy += 1
        try:
            await self._pages(scope, receive, send)
        finally:
            self._busy -= 1
            self._asked.set()

    async def idle(self, seconds: float) -> None:
        """Return once nobody has asked for ``seconds``, the first time since `listens`."""
        await self.listens.wait()
        while True:
            self._asked.clear()
            try:
                async with asyncio.timeout(seconds):
                    await self._asked.wait()
            except TimeoutError:
                if not self._busy:
                    return


class _Server(uvicorn.Server):
    """Says when it listens."""

    def __init__(self, listens: asyncio.Event, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._listens = listens

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and say so."""
        await super().startup(sockets)
        self._listens.set()


def main(arguments: list[str] | None = None) -> int:
    """Serve the pages until idle or TERM."""
    options = _parse(arguments)
    if options.fd is not None:
        _end_with_parent()
    asyncio.run(serve(options))
    return 0


async def serve(options: argparse.Namespace) -> None:
    """Serve on the socket that ``options`` names."""
    mesh = Mesh(f"unix:{options.api}")
    site = Watched(build(mesh, options.ingress_port))
    server = _Server(
        site.listens,
        uvicorn.Config(
            site,
            http="h11",
            ws="none",
            loop="asyncio",
            lifespan="off",
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=GRACE,
        ),
    )
    async with asyncio.TaskGroup() as group:
        watcher = group.create_task(_until_idle(server, site, options.idle))
        try:
            await server.serve(sockets=[_listening(options)])
        finally:
            watcher.cancel()
            await mesh.close()


async def _until_idle(server: uvicorn.Server, site: Watched, idle: float) -> None:
    await site.idle(idle)
    server.should_exit = True


def _end_with_parent() -> None:
    """Have the kernel send TERM when the parent dies, by whatever signal."""
    parent = os.getppid()
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        raise SystemExit(0)


def _listening(options: argparse.Namespace) -> socket.socket:
    if options.fd is not None:
        inherited = socket.socket(fileno=options.fd)
        inherited.settimeout(0)
        return inherited
    path = Path(options.socket)
    path.unlink(missing_ok=True)
    own = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        own.bind(str(path))
    finally:
        os.umask(before)
    own.listen(BACKLOG)
    own.settimeout(0)
    return own


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m callmesh_server.web", description=__doc__)
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--fd", type=int, help="an inherited listening Unix socket")
    where.add_argument("--socket", help="path of a Unix socket to listen on")
    parser.add_argument("--api", required=True, help="path of the server's API socket")
    parser.add_argument("--ingress-port", type=int, default=7480, help="default %(default)s")
    parser.add_argument("--idle", type=float, default=IDLE, help="seconds; default %(default)g")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    # TERM before uvicorn has its own handler must end the process as well.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    raise SystemExit(main())
