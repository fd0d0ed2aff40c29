"""`callmesh up`: build the server and the agent in one loop, run them, end them.

The order matters twice. Starting: the supervisor is launched before the heavy
imports, so that it starts beside them. Ending: the agent first (it stops giving
work), then the pages and the server (the last results are written), then the
supervisor with everything that it runs.
"""

from __future__ import annotations

import asyncio
import gc
import os
import platform
import signal
import socket
import sys
import time
from importlib.metadata import version

from callmesh_agent.supervisor.launch import ensure_running

from callmesh_up import record
from callmesh_up.detach import READY, describe
from callmesh_up.layout import Layout, prepare
from callmesh_up.options import UpOptions
from callmesh_up.record import Record


class StartProblem(Exception):
    """The mesh cannot start. ``str()`` is a sentence for the user."""


def run(options: UpOptions, layout: Layout) -> int:
    """Run a mesh in this process until it is told to end; the exit code."""
    began = time.perf_counter()
    prepare(layout)
    record.acquire(layout)
    try:
        import uvloop

        loop_factory = uvloop.new_event_loop
    except ImportError:
        loop_factory = asyncio.new_event_loop
    ensure_running(
        sys.executable, str(layout.supervisor_socket), layout.agent, layout.agent / "logs"
    )
    say = _Speaker(options.ready_fd)
    try:
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(_Mesh(options, layout, say, began).run())
    except* StartProblem as group:
        say.problem("; ".join(str(each) for each in group.exceptions))
        return 1
    return 0


class _Speaker:
    """Tells the person, or the process that started this one, how it went."""

    def __init__(self, ready_fd: int | None) -> None:
        self._file = sys.stderr if ready_fd is None else os.fdopen(ready_fd, "w")
        self._detached = ready_fd is not None

    def ready(self, text: str) -> None:
        self._file.write(text)
        if self._detached:
            self._file.write(READY)
            self._file.close()
        else:
            self._file.write("\nCtrl-C ends it.\n")
            self._file.flush()

    def problem(self, text: str) -> None:
        if not self._file.closed:
            self._file.write(f"error: {text}\n")
            self._file.flush()

    def ending(self) -> None:
        if not self._detached:
            self._file.write("\nending …\n")
            self._file.flush()
