"""What a node's word about an attempt means for its run.

``reported`` takes it through a table.
"""

from __future__ import annotations

from callmesh_server.core import attempts, timeouts
from callmesh_server.core.actions import Action, NoteReported, PutRun, SendAck, SendGo, SendStop
from callmesh_server.core.endings import (
    STOP_GRACE,
    SYSTEM,
    USER,
    attempt_failed,
    attempt_lost,
    close,
    copied,
    end,
    own_fence,
)
from callmesh_server.core.times import seconds, stamp
from callmesh_server.core.world import World, fence_of
from callmeshpb.v1 import scheduler_pb2 as pb
from callmeshpb.v1.common_pb2 import Failure
from callmeshpb.v1.node_pb2 import AttemptReport
from callmeshpb.v1.scheduler_pb2 import Attempt, Run


def reported(world: World, node: str, report: AttemptReport, now: float) -> list[Action]:
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
    if attempts.is_stopping(attempt) and report.phase in attempts.ACTIVE_ATTEMPTS:
        reason = attempt.error.message
        return [*noted, SendStop(node, run.name, own_fence(attempt), reason, STOP_GRACE)]
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
    if attempt.phase == pb.ATTEMPT_PHASE_RUNNING and attempt.worker == report.worker:
        return []
    after = copied(run)
    _note(after, report, now, live=_is_live(world, attempt.node))
    after.attempts[-1].phase = pb.ATTEMPT_PHASE_RUNNING
    after.phase = pb.RUN_PHASE_RUNNING
    after.message = report.message
    return [PutRun(after, durable=False), *timeouts.wakes(after, timeouts.of_run(world, run), now)]


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
