"""One run: from the queue to a node, through its attempts, to one result.

``reconcile`` looks at a run from above: its limits, its backoff, its turn. What
its node says of it is taken by ``attempt_reports``.
"""

from __future__ import annotations

from callmesh_server.core import attempts, equals, queue, timeouts
from callmesh_server.core.actions import (
    Action,
    MarkDirty,
    PutRun,
    SendGo,
    SendPrepare,
    WakeAt,
)
from callmesh_server.core.endings import (
    SYSTEM,
    USER,
    abort,
    attempt_lost,
    copied,
    end,
    stop,
)
from callmesh_server.core.times import seconds, span, stamp
from callmesh_server.core.world import Ids, NodeState, QueueKey, RunKey, World, task_key
from callmeshpb.v1 import scheduler_pb2 as pb
from callmeshpb.v1.common_pb2 import Failure
from callmeshpb.v1.scheduler_pb2 import Attempt, Run, TaskTimeouts

__all__ = ["abort", "dispatch", "reconcile", "reconcile_queue", "why_waiting"]


def reconcile(world: World, name: str, now: float, ids: Ids) -> list[Action]:
    """What one run needs now: a node, its next attempt, or to be ended."""
    run = world.runs.get(name)
    if run is None:
        return []
    attempt = attempts.current(run)
    if attempt is not None and _is_reporting(world.nodes.get(attempt.node)):
        # It may have ended while nobody listened. The node's completion, or the
        # end of its lease, decides the run again.
        return []
    if task_key(run) not in world.tasks:
        message = f"task `{run.task}` version `{run.task_version}` is not known any more"
        error = Failure(type="TaskMissing", message=message, kind=SYSTEM)
        return end(world, copied(run), pb.RUN_PHASE_FAILED, error, message, now)
    limits = timeouts.of_run(world, run)
    ended = _overdue(world, run, limits, now)
    if ended:
        return ended
    wakes = timeouts.wakes(run, limits, now)
    if attempt is not None:
        return [*_overrun(world, run, attempt, limits, now), *wakes]
    if run.HasField("next_attempt_at"):
        return [*_after_backoff(run, now), *wakes]
    return [*_its_turn(world, run, now, ids), *wakes]


def reconcile_queue(world: World, now: float, ids: Ids) -> list[Action]:
    """Dispatch the run that goes next, if any; asks to be called again until none fits."""
    turn = queue.next_turn(world)
    if turn is None:
        return []
    return [*dispatch(world, turn.run, turn.node, now, ids), MarkDirty(QueueKey())]


def dispatch(world: World, name: str, node: str, now: float, ids: Ids) -> list[Action]:
    """Give the waiting run a new attempt on ``node``."""
    run = copied(world.runs[name])
    fence = ids.next_fence()
    attempt = run.attempts.add(
        number=len(run.attempts) + 1, node=node, phase=pb.ATTEMPT_PHASE_DISPATCHED, fence=fence
    )
    attempt.created_at.CopyFrom(stamp(now))
    run.phase = pb.RUN_PHASE_INITIALIZING
    run.ClearField("message")
    return [
        PutRun(run),
        SendPrepare(node, name, attempt.number),
        SendGo(node, name, fence),
    ]


def why_waiting(world: World, run: Run) -> str:
    """Why a run that has not started waits, as of now: for whoever looks at it."""
    if not attempts.is_waiting(run):
        return str(run.message)
    if first := equals.first_of(world, run):
        return f"waits for run `{first}`, which has equal inputs"
    return queue.why_waiting(world, world.demand_of(run))


def _is_reporting(node: NodeState | None) -> bool:
    return node is not None and not node.lost and not node.attempts_complete


def _overdue(world: World, run: Run, limits: TaskTimeouts, now: float) -> list[Action]:
    """End a run that is past its deadline or waited too long for its start."""
    if now >= timeouts.deadline(run, limits):
        limit = f"{span(limits.deadline):g} s"
        message = f"not ended within its deadline of {limit}"
        error = Failure(type="DeadlineExceeded", message=message, kind=USER)
        return end(world, copied(run), pb.RUN_PHASE_TIMED_OUT, error, message, now)
    if now >= timeouts.queued_until(run, limits):
        limit = f"{span(limits.max_queued_time):g} s"
        message = f"not started within its `max_queued_time` of {limit}"
        if run.message:
            message = f"{message}: {run.message}"
        error = Failure(type="MaxQueuedTimeExceeded", message=message, kind=USER)
        return end(world, copied(run), pb.RUN_PHASE_TIMED_OUT, error, message, now)
    return []


def _overrun(
    world: World, run: Run, attempt: Attempt, limits: TaskTimeouts, now: float
) -> list[Action]:
    """Stop an attempt that runs too long; give it up if its node does not say that it ended."""
    if now >= timeouts.given_up_at(attempt):
        return attempt_lost(world, copied(run), "it could not be stopped", now)
    if now < timeouts.runs_until(attempt, limits):
        return []
    message = f"ran longer than its `max_runtime` of {span(limits.max_runtime):g} s"
    return stop(run, Failure(type="MaxRuntimeExceeded", message=message, kind=USER), now)


def _after_backoff(run: Run, now: float) -> list[Action]:
    if now < seconds(run.next_attempt_at):
        return [WakeAt(RunKey(run.name), seconds(run.next_attempt_at))]
    after = copied(run)
    after.ClearField("next_attempt_at")
    return [PutRun(after, durable=False), MarkDirty(RunKey(run.name))]


def _its_turn(world: World, run: Run, now: float, ids: Ids) -> list[Action]:
    turn = None if equals.first_of(world, run) else queue.next_turn(world)
    if turn is not None and turn.run == run.name:
        return dispatch(world, run.name, turn.node, now, ids)
    if turn is not None:
        # Somebody is before it: let the queue move, then look again.
        return [MarkDirty(QueueKey()), MarkDirty(RunKey(run.name))]
    message = why_waiting(world, run)
    if run.phase == pb.RUN_PHASE_WAITING_FOR_RESOURCES and run.message == message:
        return []
    after = copied(run)
    after.phase = pb.RUN_PHASE_WAITING_FOR_RESOURCES
    after.message = message
    return [PutRun(after, durable=False)]
