"""What a process of ours does around its parts: signals, locks, sentences for a person.

Shared by `callmesh up`, `callmesh server` and `callmesh agent`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from types import FrameType
from typing import Any

from callmesh_up import ports, record
from callmesh_up.layout import Layout, LayoutProblem, is_of_state, unusable
from callmesh_up.speaker import Speaker
from callmesh_wire.errors import CallmeshError

ENDING = (signal.SIGINT, signal.SIGTERM)


class Told:
    """Whether this process was told to end before its loop could hear it.

    From its making on, Ctrl-C and TERM leave no supervisor behind.
    """

    def __init__(self) -> None:
        self.to_end = False
        for number in ENDING:
            signal.signal(number, self._hear)

    def _hear(self, _number: int, _frame: FrameType | None) -> None:
        self.to_end = True


def run(layout: Layout, say: Speaker, main: Callable[[Told], Coroutine[Any, Any, None]]) -> int:
    """Run ``main`` in this process until it ends; the exit code.

    ``main`` is called with the signals in hand, before the loop and its imports.
    """
    told = Told()
    try:
        running = main(told)
        import uvloop

        _import_grpc()

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(running)
    except Exception as problem:  # noqa: BLE001 - the process boundary: told, then exit 1
        for each in sentences(problem, layout):
            say.problem(each)
        return 1
    return 0


def _import_grpc() -> None:
    """gRPC's own lines on stderr are nothing for a person: what matters is told in sentences.

    It reads the variable at its import; workloads do not inherit it.
    """
    name = "GRPC_VERBOSITY"
    if name in os.environ:
        return
    os.environ[name] = "NONE"
    try:
        import grpc.aio  # noqa: F401
    finally:
        del os.environ[name]


def sentences(problem: Exception, layout: Layout) -> list[str]:
    """Sentences for the person; what is a defect of ours is raised instead."""
    if isinstance(problem, ExceptionGroup):
        return [text for each in problem.exceptions for text in sentences(each, layout)]
    ours = (CallmeshError, LayoutProblem, ports.PortProblem, record.AlreadyRunning)
    if isinstance(problem, ours):
        return [str(problem)]
    if isinstance(problem, OSError) and is_of_state(layout, problem):
        return [unusable(layout, problem)]
    raise problem


def tell_service_manager() -> None:
    """Say to a systemd that waits for it (Type=notify) that this process has started."""
    address = os.environ.pop("NOTIFY_SOCKET", "")
    if not address:
        return
    # A leading @ stands for the NUL of the abstract namespace.
    name = f"\0{address[1:]}" if address.startswith("@") else address
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as waiting, suppress(OSError):
        waiting.sendto(b"READY=1", name)


class Parts:
    """The parts of a process, started in order and ended in reverse."""

    def __init__(self, tasks: asyncio.TaskGroup, stop: asyncio.Event) -> None:
        """``stop`` is set when the process shall end, even while it starts."""
        self._tasks = tasks
        self._stop = stop
        self._running: list[asyncio.Task[None]] = []

    async def start(self, part: Callable[[Callable[[], None]], Awaitable[None]]) -> bool:
        """Run a part until it has started, has ended, or shall end; whether it has started."""
        started = asyncio.Event()

        async def run_it() -> None:
            await part(started.set)

        task = self._tasks.create_task(run_it())
        self._running.append(task)
        stopped = self._tasks.create_task(self._stop.wait())
        waiting = self._tasks.create_task(started.wait())
        await asyncio.wait({task, waiting, stopped}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        stopped.cancel()
        return started.is_set()

    def add(self, part: Coroutine[Any, Any, None]) -> None:
        """Run a part that is there at once."""
        self._running.append(self._tasks.create_task(part))

    async def end(self) -> None:
        """End them all."""
        for task in reversed(self._running):
            task.cancel()
            await asyncio.wait({task})


def stop_event(told: Told) -> asyncio.Event:
    """Set when this process is told to end; call it inside the loop."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in ENDING:
        loop.add_signal_handler(number, stop.set)
    if told.to_end:
        stop.set()
    return stop
