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
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from types import FrameType

from callmesh_agent.supervisor.launch import ensure_running
from callmesh_up import detach, down, ports, record
from callmesh_up.layout import Layout, LayoutProblem, is_of_state, prepare, unusable
from callmesh_up.options import UpOptions
from callmesh_up.record import Record
from callmesh_up.speaker import Speaker
from callmesh_wire.errors import CallmeshError

NODE = "local"
ENDING = (signal.SIGINT, signal.SIGTERM)


def run(options: UpOptions, layout: Layout) -> int:
    """Run a mesh in this process until it is told to end; the exit code."""
    began = time.perf_counter()
    say = Speaker(options.ready_fd)
    told = _Told()
    try:
        prepare(layout)
        record.acquire(layout)
        ensure_running(
            sys.executable, layout.supervisor_socket, layout.agent, layout.agent / "logs"
        )
        import uvloop

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_Mesh(options, layout, say, began).run(told))
    except Exception as problem:  # noqa: BLE001 - the process boundary: told, then exit 1
        for each in _sentences(problem, layout):
            say.problem(each)
        return 1
    return 0


class _Told:
    """Whether this process was told to end before its loop could hear it.

    From its making on, Ctrl-C and TERM leave no supervisor behind.
    """

    def __init__(self) -> None:
        self.to_end = False
        for number in ENDING:
            signal.signal(number, self._hear)

    def _hear(self, _number: int, _frame: FrameType | None) -> None:
        self.to_end = True


def _sentences(problem: Exception, layout: Layout) -> list[str]:
    """Sentences for the person; what is a defect of ours is raised instead."""
    if isinstance(problem, ExceptionGroup):
        return [text for each in problem.exceptions for text in _sentences(each, layout)]
    ours = (CallmeshError, LayoutProblem, ports.PortProblem, record.AlreadyRunning)
    if isinstance(problem, ours):
        return [str(problem)]
    if isinstance(problem, OSError) and is_of_state(layout, problem):
        return [unusable(layout, problem)]
    raise problem


class _Mesh:
    """The parts of one running mesh, in the order of their making."""

    def __init__(self, options: UpOptions, layout: Layout, say: Speaker, began: float) -> None:
        self._options = options
        self._layout = layout
        self._say = say
        self._began = began
        self._stop = asyncio.Event()

    async def run(self, told: _Told) -> None:
        """Start everything, say so, wait for the end, end everything."""
        loop = asyncio.get_running_loop()
        for number in ENDING:
            loop.add_signal_handler(number, self._stop.set)
        if told.to_end:
            self._stop.set()
        try:
            async with asyncio.TaskGroup() as tasks:
                await self._start(tasks)
                await self._stop.wait()
                self._say.ending()
                await self._end_tasks()
        finally:
            await down.end_supervisor(self._layout)
            down.clean(self._layout)

    async def _start(self, tasks: asyncio.TaskGroup) -> None:
        from callmesh_agent.agent import Agent
        from callmesh_agent.config import AgentSettings
        from callmesh_server.config import ServerSettings
        from callmesh_server.core.collection import Caps
        from callmesh_server.server import Server
        from callmesh_up import pages
        from callmesh_up.link import InMemoryLink

        layout = self._layout
        api_port, ingress_port = self._ports()
        record.token(layout.token)
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
            ),
            InMemoryLink(server, NODE),
        )
        self._running = [
            await self._started(tasks, server.run),
            tasks.create_task(pages.serve(layout, ingress_port)),
            await self._started(tasks, agent.run),
        ]
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

    async def _started(
        self, tasks: asyncio.TaskGroup, part: Callable[[Callable[[], None]], Awaitable[None]]
    ) -> asyncio.Task[None]:
        """Run a part; return once it has said that it started."""
        started = asyncio.Event()

        async def run() -> None:
            await part(started.set)

        task = tasks.create_task(run())
        stopped = tasks.create_task(self._stop.wait())
        waiting = tasks.create_task(started.wait())
        await asyncio.wait({task, waiting, stopped}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        stopped.cancel()
        return task

    async def _end_tasks(self) -> None:
        for task in reversed(self._running):
            task.cancel()
            await asyncio.wait({task})
