"""What can be read off a run and its attempts."""

from __future__ import annotations

from callmeshpb.v1 import scheduler_pb2
from callmeshpb.v1.scheduler_pb2 import Attempt, Run

FINAL_PHASES = frozenset(
    {
        scheduler_pb2.RUN_PHASE_SUCCEEDED,
        scheduler_pb2.RUN_PHASE_FAILED,
        scheduler_pb2.RUN_PHASE_ABORTED,
        scheduler_pb2.RUN_PHASE_TIMED_OUT,
        scheduler_pb2.RUN_PHASE_RECOVERED,
    }
)
ACTIVE_ATTEMPTS = frozenset(
    {scheduler_pb2.ATTEMPT_PHASE_DISPATCHED, scheduler_pb2.ATTEMPT_PHASE_RUNNING}
)
# An attempt of these phases used up a retry.
COUNTED_ATTEMPTS = frozenset(
    {scheduler_pb2.ATTEMPT_PHASE_FAILED, scheduler_pb2.ATTEMPT_PHASE_TIMED_OUT}
)


def has_ended(run: Run) -> bool:
    """Whether the run's phase is final."""
    return run.phase in FINAL_PHASES


def current(run: Run) -> Attempt | None:
    """The attempt that is on a node now, or None. There is at most one: the last."""
    if not run.attempts:
        return None
    last: Attempt = run.attempts[-1]
    return last if last.phase in ACTIVE_ATTEMPTS else None


# Of an attempt that was stopped for the mesh's sake, to go on on another node.
HANDED_ON = "HandedOn"


def is_stopping(attempt: Attempt) -> bool:
    """Whether an active attempt was told to end; its ``error`` says why.

    The end is recorded when the node reports it, so that the next attempt does
    not overlap with this one.
    """
    return attempt.phase in ACTIVE_ATTEMPTS and attempt.HasField("error")


def is_waiting(run: Run) -> bool:
    """Whether the run could be dispatched now: not on a node, not in a backoff."""
    return not has_ended(run) and current(run) is None and not run.HasField("next_attempt_at")


def counted(run: Run) -> int:
    """How many attempts used up a retry."""
    return sum(each.phase in COUNTED_ATTEMPTS for each in run.attempts)


def lost(run: Run) -> int:
    """How many attempts the mesh lost; not those that it handed on."""
    return sum(
        each.phase == scheduler_pb2.ATTEMPT_PHASE_LOST and each.error.type != HANDED_ON
        for each in run.attempts
    )
