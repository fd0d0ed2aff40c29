"""`callmesh up`: build the server and the agent in one loop, run them, end them.

The order matters twice. Starting: the supervisor is launched before the heavy
imports, so that it starts beside them. Ending: the agent first (it gives no
more work), then the pages and the server (the last results are written), then
the supervisor with everything that it runs.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import time
from collections.abc import Coroutine
from importlib.metadata import version
from typing import Any

from callmesh_agent.supervisor.launch import ensure_running
from callmesh_up import detach, down, hosting, ports, record
from callmesh_up.hosting import Parts, Told, stop_event
from callmesh_up.layout import Layout, prepare
from callmesh_up.options import UpOptions
from callmesh_up.record import Record
from callmesh_up.speaker import Speaker
from callmesh_wire import diskfile

NODE = "local"


def run(options: UpOptions, layout: Layout) -> int:
    """Run a mesh in this process until it is told to end; the exit code."""
    began = time.perf_counter()
    say = Speaker(options.ready_fd)

    def main(told: Told) -> Coroutine[Any, Any, None]:
        prepare(layout)
        record.acquire(layout)
        ensure_running(
            sys.executable, layout.supervisor_socket, layout.agent, layout.agent / "logs"
        )
        return _Mesh(options, layout, say, began).run(told)

    return hosting.run(layout, say, main)


class _Mesh:
    """The parts of one running mesh, in the order of their making."""

    def __init__(self, options: UpOptions, layout: Layout, say: Speaker, began: float) -> None:
        self._options = options
        self._layout = layout
        self._say = say
        self._began = began

    async def run(self, told: Told) -> None:
        """Start everything, say so, wait for the end, end everything."""
        stop = stop_event(told)
        try:
            async with asyncio.TaskGroup() as tasks:
                parts = Parts(tasks, stop)
                await self._start(parts)
                await stop.wait()
                self._say.ending()
                await parts.end()
        finally:
            await down.end_supervisor(self._layout)
            down.clean(self._layout)

    async def _start(self, parts: Parts) -> None:
        from callmesh_agent.agent import Agent
        from callmesh_agent.config import AgentSettings
        from callmesh_server.config import ServerSettings
        from callmesh_server.core.collection import Caps
        from callmesh_server.server import Server
        from callmesh_up import pages
        from callmesh_up.link import InMemoryLink

        layout = self._layout
        api_port, ingress_port = self._ports()
        diskfile.token(layout.token)
        server = Server(
            ServerSettings(
                state_dir=layout.state,
                api_socket=layout.api_socket,
                token_file=layout.token,
                api_port=api_port,
                ingress_port=ingress_port,
                version=version("callmesh"),
                caps=Caps(runs=self._options.keep_runs, days=self._options.keep_days),
            )
        )
        agent = Agent(
            AgentSettings(
                state_dir=layout.agent,
                runtime_dir=layout.runtime,
                ingress_port=ingress_port,
                pages_socket=layout.web_socket,
                version=version("callmesh"),
                node=NODE,
                shared_cpu=True,
                # The server's are on the same disk.
                blobs_cap=0,
                **{f"{kind}_cap": size for kind, size in self._options.caps.items()},
            ),
            InMemoryLink(server, NODE),
        )
        await parts.start(server.run)
        parts.add(pages.serve(layout, ingress_port))
        await parts.start(agent.run)
        record.write(
            layout,
            Record(
                pid=os.getpid(),
                version=version("callmesh"),
                api_port=api_port,
                ingress_port=ingress_port,
                runtime_dir=str(layout.runtime),
                started_at=time.time(),
            ),
        )
        gc.freeze()
        took = time.perf_counter() - self._began
        self._say.ready(f"callmesh is up ({took:.2f} s)\n" + detach.describe(layout))

    def _ports(self) -> tuple[int, int]:
        """The ports of the API and of the ingress.

        A record that is still there was left by a mesh that was killed: its
        Envoy lives and has the ingress port already.
        """
        from callmesh_agent.ports import holder

        options, before = self._options, record.read(self._layout)
        api = ports.choose(options.port, before and before.api_port, "the API", "--port", holder)
        if before and options.ingress_port in (0, before.ingress_port):
            return api, before.ingress_port
        return api, ports.choose(
            options.ingress_port, None, "the ingress", "--ingress-port", holder
        )
