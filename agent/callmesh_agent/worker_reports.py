"""What workers say of attempts, on its way to the core: a start waits for its end.

A report of a start is held for a moment. The end of a short run overtakes it,
and says all that the start did: one decision here, one message, and one
decision of the server less.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from callmesh_agent.core import events
from callmeshpb.v1 import node_pb2, scheduler_pb2

START_SECONDS = 0.003


class WorkerReports:
    """The reports of every worker of this node, each worker's in their order."""

    def __init__(self, deliver: Callable[[events.Event], None]) -> None:
        self._deliver = deliver
        # At most one start of each worker.
        self._held: dict[str, tuple[node_pb2.AttemptReport, asyncio.TimerHandle]] = {}

    def take(self, worker_id: str, report: node_pb2.AttemptReport) -> None:
        """A worker said how an attempt goes."""
        held = self._held.get(worker_id)
        if held is not None and not _is_of_one_attempt(held[0], report):
            self.release(worker_id)
        elif held is not None:
            held[1].cancel()
            del self._held[worker_id]
        if report.phase == scheduler_pb2.ATTEMPT_PHASE_RUNNING:
            timer = asyncio.get_running_loop().call_later(START_SECONDS, self.release, worker_id)
            self._held[worker_id] = report, timer
        else:
            self._deliver(events.WorkerReported(worker_id, report))

    def release(self, worker_id: str) -> None:
        """Nothing is held of this worker any longer."""
        held = self._held.pop(worker_id, None)
        if held is not None:
            held[1].cancel()
            self._deliver(events.WorkerReported(worker_id, held[0]))


def _is_of_one_attempt(one: node_pb2.AttemptReport, other: node_pb2.AttemptReport) -> bool:
    return one.run == other.run and one.fence == other.fence
