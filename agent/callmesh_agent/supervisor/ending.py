"""The end of everything that a supervisor owns, in order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import time

from callmesh_agent.supervisor import proc
from callmesh_agent.supervisor.processes import Processes
from callmesh_agent.supervisor.tracked import Tracked

# What a process may take to end once killed; and zygotes and Envoy at all.
LAST_SECONDS = 3.0

log = logging.getLogger("callmesh.supervisor")


async def end_all(processes: Processes, grace: float) -> None:
    """End workloads, then zygotes, then what is restarted: TERM, and KILL after ``grace``.

    Nothing can be started any more. Records and locks are removed at the end.
    """
    processes.is_closing = True
    everything = processes.all
    last = [tracked for tracked in everything if tracked.record.restart]
    zygotes = [tracked for tracked in everything if tracked.record.is_zygote]
    workloads = [
        tracked for tracked in everything if tracked not in last and tracked not in zygotes
    ]
    await _end(workloads, grace)
    await _end(zygotes, min(grace, LAST_SECONDS))
    await _end(last, min(grace, LAST_SECONDS))
    _kill_strangers()
    try:
        processes.clear()
    except OSError as problem:
        # Somebody removed the folder under it: nothing is left to be cleared.
        log.warning("records and locks are not removed: %s", problem)


async def _end(some: list[Tracked], grace: float) -> None:
    for tracked in some:
        tracked.stopping.set()
        tracked.send(signal.SIGTERM, to_group=False)
    await _wait_over(some, grace)
    for tracked in some:
        tracked.send(signal.SIGKILL, to_group=True)
    await _wait_over(some, LAST_SECONDS)


async def _wait_over(some: list[Tracked], seconds: float) -> None:
    until = time.monotonic() + seconds
    for tracked in some:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(until - time.monotonic(), 0)):
                await tracked.over.wait()


def _kill_strangers() -> None:
    """KILL descendants that left their workload's session and outlived it."""
    for pid in proc.children(os.getpid()):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
