"""One run: from the queue to a node, through its attempts, to one result.

``reconcile`` looks at a run from above (deadlines, backoff, its turn);
``attempt_reported`` takes what a node says about an attempt through a table.
"""

from __future__ import annotations

from callmesh_server.core import attempts, equals, queue
from callmesh_server.core.actions import (
    Action,
    MarkDirty,
    NoteReported,
    PutRun,
    SendAck,
    SendGo,
    SendPrepare,
    SendStop,
    WakeAt,
)
from callmesh_server.core.endings import (
    STOP_GRACE,
    SYSTEM,
    USER,
    abort,
    attempt_failed,
    attempt_lost,
    close,
    copied,
    end,
    own_fence,
)
from callmesh_server.core.times import seconds, span, stamp
from callmesh_server.core.world import (
    Ids,
    NodeState,
    QueueKey,
    RunKey,
    World,
    fence_of,
    task_key,
)
from callmeshpb.v1 import scheduler_pb2 as pb
from callmeshpb.v1.common_pb2 import Failure
from callmeshpb.v1.node_pb2 import AttemptReport
from callmeshpb.v1.scheduler_pb2 import Attempt, Run, TaskTimeouts

__all__ = [
    "abort",
    "attempt_reported",
    "dispatch",
    "reconcile",
    "reconcile_queue",
    "timeouts_of",
    "why_waiting",
]

# After KILL, how long a node may take to say so before the attempt is given up.
STOP_MARGIN = 20.0


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
    limits = timeouts_of(world, run)
    ended = _overdue(world, run, limits, now)
    if ended:
        return ended
    wakes = _wakes(run, limits, now)
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


def attempt_reported(world: World, node: str, report: AttemptReport, now: float) -> list[Action]:
    """What follows from a node's word about an attempt.

    A report for anything but a run's current attempt changes nothing: the node
    is told to end that attempt, and to forget it once it has ended.
    """
    run = world.runs.get(report.run)
    attempt = attempts.current(run) if run is not None else None
    if (
        run is None
        or attempt is None
        or attempt.node != node
        or fence_of(attempt.fence) != fence_of(report.fence)
    ):
        return _disown(node, report)
    state = world.nodes.get(node)
    noted: list[Action] = []
    if state is not None and not state.attempts_complete:
        noted.append(NoteReported(node, run.name, fence_of(attempt.fence)))
    match _EFFECTS.get((attempt.phase, report.phase)):
        case "go":
            return [*noted, *_prepared(run, attempt, report, again=bool(noted))]
        case "running":
            return [*noted, *_running(world, run, attempt, report, now)]
        case "end":
            return [*noted, *_ended(world, run, report, now), SendAck(node, run.name, report.fence)]
    return noted


# (attempt's phase, reported phase) -> what it means. Anything else means nothing.
_EFFECTS = {
    (pb.ATTEMPT_PHASE_DISPATCHED, pb.ATTEMPT_PHASE_DISPATCHED): "go",
    (pb.ATTEMPT_PHASE_DISPATCHED, pb.ATTEMPT_PHASE_RUNNING): "running",
    (pb.ATTEMPT_PHASE_RUNNING, pb.ATTEMPT_PHASE_RUNNING): "running",
    **{
        (active, ended): "end"
        for active in attempts.ACTIVE_ATTEMPTS
        for ended in (
            pb.ATTEMPT_PHASE_SUCCEEDED,
            pb.ATTEMPT_PHASE_FAILED,
            pb.ATTEMPT_PHASE_LOST,
            pb.ATTEMPT_PHASE_ABORTED,
            pb.ATTEMPT_PHASE_TIMED_OUT,
        )
    },
}


def why_waiting(world: World, run: Run) -> str:
    """Why a run that has not started waits, as of now: for whoever looks at it."""
    if not attempts.is_waiting(run):
        return str(run.message)
    if first := equals.first_of(world, run):
        return f"waits for run `{first}`, which has equal inputs"
    return queue.why_waiting(world, world.demand_of(run))


def timeouts_of(world: World, run: Run) -> TaskTimeouts:
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


def _is_reporting(node: NodeState | None) -> bool:
    return node is not None and not node.lost and not node.attempts_complete


def _overdue(world: World, run: Run, limits: TaskTimeouts, now: float) -> list[Action]:
    """End a run that is past its deadline or waited too long for its start."""
    if now >= _deadline(run, limits):
        limit = f"{span(limits.deadline):g} s"
        message = f"not ended within its deadline of {limit}"
        error = Failure(type="DeadlineExceeded", message=message, kind=USER)
        return end(world, copied(run), pb.RUN_PHASE_TIMED_OUT, error, message, now)
    if now >= _queued_until(run, limits):
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
    if now >= _given_up_at(attempt, limits):
        return attempt_lost(world, copied(run), "it could not be stopped", now)
    if now < _runs_until(attempt, limits):
        return []
    after = copied(run)
    message = f"ran longer than its `max_runtime` of {span(limits.max_runtime):g} s"
    after.attempts[-1].error.CopyFrom(
        Failure(type="MaxRuntimeExceeded", message=message, kind=USER)
    )
    after.message = f"attempt {attempt.number} {message}; it is being stopped"
    wake = WakeAt(RunKey(run.name), _given_up_at(after.attempts[-1], limits))
    stop = SendStop(attempt.node, run.name, attempt.fence, message, STOP_GRACE)
    return [PutRun(after), stop, wake]


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


def _disown(node: str, report: AttemptReport) -> list[Action]:
    if report.phase in attempts.ACTIVE_ATTEMPTS:
        # Its end is reported in turn, and acknowledged then: an acknowledgement
        # now would have the node kill it without the grace.
        reason = "the run has ended or is tried elsewhere"
        return [SendStop(node, report.run, report.fence, reason, STOP_GRACE)]
    return [SendAck(node, report.run, report.fence)]


def _prepared(run: Run, attempt: Attempt, report: AttemptReport, *, again: bool) -> list[Action]:
    """``again``: the node has reconnected, and may have missed its go."""
    actions: list[Action] = []
    if report.message != run.message:
        after = copied(run)
        after.message = report.message
        actions.append(PutRun(after, durable=False))
    if again:
        actions.append(SendGo(attempt.node, run.name, own_fence(attempt)))
    return actions


def _running(
    world: World, run: Run, attempt: Attempt, report: AttemptReport, now: float
) -> list[Action]:
    if attempts.is_stopping(attempt):
        reason = attempt.error.message
        return [SendStop(attempt.node, run.name, own_fence(attempt), reason, STOP_GRACE)]
    if attempt.phase == pb.ATTEMPT_PHASE_RUNNING and attempt.worker == report.worker:
        return []
    after = copied(run)
    _note(after, report, now, live=_is_live(world, attempt.node))
    after.attempts[-1].phase = pb.ATTEMPT_PHASE_RUNNING
    after.phase = pb.RUN_PHASE_RUNNING
    after.message = report.message
    return [PutRun(after, durable=False), *_wakes(after, timeouts_of(world, run), now)]


def _ended(world: World, run: Run, report: AttemptReport, now: float) -> list[Action]:
    after = copied(run)
    attempt = after.attempts[-1]
    live = _is_live(world, attempt.node)
    _note(after, report, now, live=live)
    if report.phase == pb.ATTEMPT_PHASE_SUCCEEDED:
        after.outputs.extend(report.outputs)
        after.outputs_is_tuple = report.outputs_is_tuple
        ended = now if live else _ended_at(attempt, report, now)
        close(attempt, report.phase, None, ended)
        return end(world, after, pb.RUN_PHASE_SUCCEEDED, None, "", ended)
    error = report.error
    if attempts.is_stopping(attempt):
        return attempt_lost(world, after, error.message, now)
    by_system = error.kind == SYSTEM
    if report.phase in attempts.COUNTED_ATTEMPTS and not by_system:
        failure = _said(error, "Failed", "the worker gave no reason")
        return attempt_failed(world, after, report.phase, failure, now)
    # LOST, or ABORTED without our having asked for it.
    why = error.message or report.message or "its worker ended without a word"
    return attempt_lost(world, after, why, now)


def _ended_at(attempt: Attempt, report: AttemptReport, now: float) -> float:
    """When user code ended, by a report that waited for the connection.

    Never before the attempt started, nor in the future, whatever its clock says.
    """
    said = seconds(report.ended_at) if report.HasField("ended_at") else now
    return min(now, max(said, seconds(attempt.started_at)))


def _said(error: Failure, kind: str, message: str) -> Failure:
    failure = Failure()
    failure.CopyFrom(error)
    failure.type = failure.type or kind
    failure.message = failure.message or (message if not error.type else "")
    failure.kind = failure.kind or USER
    return failure


def _note(run: Run, report: AttemptReport, now: float, *, live: bool) -> None:
    """Copy what every report tells into the record's last attempt.

    A live report is stamped with the server's clock. One that waited for the
    connection tells its own time, as far as it is not in the future.
    """
    attempt = run.attempts[-1]
    for name in ("worker", "log_start", "log_end", "spawned_because"):
        setattr(attempt, name, getattr(report, name) or getattr(attempt, name))
    if not attempt.HasField("started_at"):
        at = now
        if report.HasField("started_at") and not live:
            at = min(now, seconds(report.started_at))
        attempt.started_at.CopyFrom(stamp(at))
    if not run.HasField("started_at"):
        run.started_at.CopyFrom(attempt.started_at)


def _is_live(world: World, node: str) -> bool:
    state = world.nodes.get(node)
    return state is not None and state.attempts_complete


def _wakes(run: Run, limits: TaskTimeouts, now: float) -> list[Action]:
    """When the run has to be looked at again for one of its limits."""
    attempt = attempts.current(run)
    moments = [_deadline(run, limits), _queued_until(run, limits)]
    if attempt is not None:
        moments += [_runs_until(attempt, limits), _given_up_at(attempt, limits)]
    next_one = min((each for each in moments if each > now), default=_NEVER)
    return [WakeAt(RunKey(run.name), next_one)] if next_one < _NEVER else []


_NEVER = float("inf")


def _deadline(run: Run, limits: TaskTimeouts) -> float:
    if not limits.HasField("deadline"):
        return _NEVER
    return seconds(run.created_at) + span(limits.deadline)


def _queued_until(run: Run, limits: TaskTimeouts) -> float:
    """When a run that has not started its (next) attempt has waited too long."""
    if not limits.HasField("max_queued_time") or run.HasField("next_attempt_at"):
        return _NEVER
    since = run.created_at
    attempt = attempts.current(run)
    if attempt is not None:
        if attempt.phase != pb.ATTEMPT_PHASE_DISPATCHED:
            return _NEVER
        since = attempt.created_at
    elif run.attempts:
        since = run.attempts[-1].ended_at
    if attempt is not None and len(run.attempts) == 1:
        since = run.created_at
    return seconds(since) + span(limits.max_queued_time)


def _runs_until(attempt: Attempt, limits: TaskTimeouts) -> float:
    running = attempt.phase == pb.ATTEMPT_PHASE_RUNNING and not attempts.is_stopping(attempt)
    if not running or not limits.HasField("max_runtime"):
        return _NEVER
    return seconds(attempt.started_at) + span(limits.max_runtime)


def _given_up_at(attempt: Attempt, limits: TaskTimeouts) -> float:
    if not attempts.is_stopping(attempt):
        return _NEVER
    until = seconds(attempt.started_at) + span(limits.max_runtime)
    return until + STOP_GRACE + STOP_MARGIN
