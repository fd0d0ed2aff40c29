"""`callmesh server`: the control plane alone, for nodes on other machines."""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import time
from collections.abc import Coroutine
from importlib.metadata import version
from typing import Any

from callmesh_up import down, hosting, ports, record
from callmesh_up.hosting import Parts, Told, stop_event
from callmesh_up.layout import Layout, prepare
from callmesh_up.options import ServerOptions
from callmesh_up.record import Record
from callmesh_up.speaker import Speaker
from callmesh_wire import diskfile


def run(options: ServerOptions, layout: Layout) -> int:
    """Run a control plane in this process until it is told to end; the exit code."""
    say = Speaker(None)

    def main(told: Told) -> Coroutine[Any, Any, None]:
        _open_files()
        prepare(layout)
        record.acquire(layout)
        return _serve(options, layout, say, told)

    return hosting.run(layout, say, main)


async def _serve(options: ServerOptions, layout: Layout, say: Speaker, told: Told) -> None:
    from callmesh_agent.ports import holder
    from callmesh_server.config import ServerSettings
    from callmesh_server.core.collection import Caps
    from callmesh_server.server import Server
    from callmesh_up import pages

    stop = stop_event(told)
    before = record.read(layout)
    ports.check(options.address, options.node_port, "nodes", ("--address", "--node-port"), holder)
    diskfile.token(layout.token)
    server = Server(
        ServerSettings(
            state_dir=layout.state,
            api_socket=layout.api_socket,
            token_file=layout.token,
            api_port=ports.choose(
                options.port, before and before.api_port, "the API", "--port", holder
            ),
            pages_socket=layout.web_socket,
            node_host=options.address,
            node_port=options.node_port,
            ingress_port=options.ingress_port,
            lease_seconds=options.lease,
            version=version("callmesh"),
            caps=Caps(runs=options.keep_runs, days=options.keep_days),
        )
    )
    try:
        async with asyncio.TaskGroup() as tasks:
            parts = Parts(tasks, stop)
            if await parts.start(server.run):
                parts.add(pages.serve(layout, options.ingress_port))
                record.write(
                    layout,
                    Record(
                        pid=os.getpid(),
                        version=version("callmesh"),
                        api_port=server.api_port,
                        ingress_port=options.ingress_port,
                        runtime_dir=str(layout.runtime),
                        started_at=time.time(),
                    ),
                )
                gc.freeze()
                say.ready(_told(server.api_port, server.node_port, options, layout))
                hosting.tell_service_manager()
            await stop.wait()
            say.ending()
            await parts.end()
    finally:
        down.clean(layout)


def _open_files() -> None:
    """Every node is a connection: as many as this user may have."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _told(api_port: int, node_port: int, options: ServerOptions, layout: Layout) -> str:
    host = f"[{options.address}]" if ":" in options.address else options.address
    return (
        "the control plane is up\n"
        f"  API    127.0.0.1:{api_port}\n"
        f"  nodes  {host}:{node_port}\n"
        f"  state  {layout.state}\n"
        "\nA node joins with a copy of the file `join.token` of the state folder:\n"
        f"  callmesh agent --server {host}:{node_port} --join-token-file FILE\n"
    )
