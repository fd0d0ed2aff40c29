"""`python -m callmesh_server`: one control plane in a process of its own."""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import sys
from importlib.metadata import version
from pathlib import Path

from callmesh_server.config import ServerSettings
from callmesh_server.server import Server
from callmesh_wire.errors import CallmeshError


def main(arguments: list[str] | None = None) -> int:
    """Serve until TERM or Ctrl-C; 1 if it cannot."""
    options = _parser().parse_args(arguments)
    settings = ServerSettings(
        state_dir=options.state_dir.resolve(),
        api_socket=options.api_socket,
        token_file=options.token_file or options.state_dir / "token",
        api_port=options.port,
        ingress_port=options.ingress_port,
        version=version("callmesh"),
    )
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        asyncio.run(_serve(Server(settings)))
    except CallmeshError as problem:
        sys.stderr.write(f"error: {problem}\n")
        return 1
    except asyncio.CancelledError:
        return 0
    return 0


async def _serve(server: Server) -> None:
    loop = asyncio.get_running_loop()
    serving = asyncio.current_task()
    assert serving is not None
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, serving.cancel)

    def started() -> None:
        sys.stderr.write(f"serving on port {server.api_port}\n")

    await server.run(started)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="callmesh_server", description=__doc__)
    parser.add_argument("--state-dir", type=Path, required=True, help="where records are kept")
    parser.add_argument("--api-socket", type=Path, required=True, help="Unix socket to listen on")
    parser.add_argument("--token-file", type=Path, help="the API's token; STATE_DIR/token")
    parser.add_argument("--port", type=int, default=7433, help="TCP port on loopback; 0: any")
    parser.add_argument("--ingress-port", type=int, default=7480, help="for the URLs it hands out")
    return parser


if __name__ == "__main__":
    sys.exit(main())
