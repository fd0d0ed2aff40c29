"""The limits of a run in time: which are its own, and when each is reached.

Moments are epoch seconds, `NEVER` where there is no limit.
"""

from __future__ import annotations

from callmesh_server.core import attempts
from callmesh_server.core.actions import Action, WakeAt
from callmesh_server.core.endings import STOP_GRACE, STOP_MARGIN
from callmesh_server.core.times import seconds, span
from callmesh_server.core.world import RunKey, World, task_key
from callmeshpb.v1 import scheduler_pb2 as pb
from callmeshpb.v1.scheduler_pb2 import Attempt, Run, TaskTimeouts

NEVER = float("inf")


def of_run(world: World, run: Run) -> TaskTimeouts:
    """The run's limits: its task's, replaced by its own where they are set."""
    task = world.tasks.get(task_key(run))
    declared = task.spec.timeouts if task is not None else TaskTimeouts()
    if not run.HasField("timeouts"):
        return declared
    limits = TaskTimeouts()
    limits.CopyFrom(declared)
    for each in ("max_runtime", "max_queued_time", "deadline"):
        if run.timeouts.HasField(each):
            getattr(limits, each).CopyFrom(getattr(run.timeouts, each))
    return limits


def wakes(run: Run, limits: TaskTimeouts, now: float) -> list[Action]:
    """When the run has to be looked at again for one of its limits."""
    attempt = attempts.current(run)
    moments = [deadline(run, limits), queued_until(run, limits)]
    if attempt is not None:
        moments += [runs_until(attempt, limits), given_up_at(attempt)]
    next_one = min((each for each in moments if each > now), default=NEVER)
    return [WakeAt(RunKey(run.name), next_one)] if next_one < NEVER else []


def deadline(run: Run, limits: TaskTimeouts) -> float:
    """When the run must have ended."""
    if not limits.HasField("deadline"):
        return NEVER
    return seconds(run.created_at) + span(limits.deadline)


def queued_until(run: Run, limits: TaskTimeouts) -> float:
    """When a run that has not started its (next) attempt has waited too long."""
    if not limits.HasField("max_queued_time") or run.HasField("next_attempt_at"):
        return NEVER
    since = run.created_at
    attempt = attempts.current(run)
    if attempt is not None:
        if attempt.phase != pb.ATTEMPT_PHASE_DISPATCHED:
            return NEVER
        since = attempt.created_at
    elif run.attempts:
        since = run.attempts[-1].ended_at
    if attempt is not None and len(run.attempts) == 1:
        since = run.created_at
    return seconds(since) + span(limits.max_queued_time)


def runs_until(attempt: Attempt, limits: TaskTimeouts) -> float:
    """When an attempt that is not being stopped has to be."""
    running = attempt.phase == pb.ATTEMPT_PHASE_RUNNING and not attempts.is_stopping(attempt)
    if not running or not limits.HasField("max_runtime"):
        return NEVER
    return seconds(attempt.started_at) + span(limits.max_runtime)


def given_up_at(attempt: Attempt) -> float:
    """When an attempt that is being stopped is taken for lost."""
    if not attempts.is_stopping(attempt):
        return NEVER
    return seconds(attempt.stopping_since) + STOP_GRACE + STOP_MARGIN
