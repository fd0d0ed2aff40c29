"""How big task workers have become, looked at now and then."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

from callmesh_agent.core import events, workers
from callmesh_agent.identities import Identities

EVERY = 20.0
_PAGE = os.sysconf("SC_PAGE_SIZE")


async def measure_workers(identities: Identities, deliver: Callable[[events.Event], None]) -> None:
    """Tell the core until cancelled."""
    while True:
        await asyncio.sleep(EVERY)
        sizes = {}
        for process in identities.running():
            if process.process_id.startswith(workers.PREFIX):
                size = _size(process.pid, Path(process.log_path))
                if size is not None:
                    sizes[process.process_id.removeprefix(workers.PREFIX)] = size
        if sizes:
            deliver(events.WorkersMeasured(sizes))


def _size(pid: int, log_path: Path) -> tuple[int, int] | None:
    """Resident memory and log size, bytes; None for a process that has ended."""
    try:
        resident = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
        return resident, log_path.stat().st_size
    except OSError:
        return None
