"""What is said of an app: one word for lists, conditions, and why in one sentence.

The `Ready` condition's message is that sentence. The `Progressing` condition
tells of the newest revision; when it failed, its last log lines follow the
sentence on lines of their own.
"""

from __future__ import annotations

from dataclasses import dataclass

from callmesh_server.core import conditions as c
from callmesh_server.core.conditions import FALSE, TRUE, Finding
from callmesh_server.core.crew import Crew, Instances, ready
from callmesh_server.core.gates import Gate
from callmesh_server.core.placement import Placement
from callmesh_server.core.revisions import hard_coded_port, wanted_replicas
from callmesh_server.core.rollout import FAILURES, Rollout, failure_message
from callmeshpb.v1 import scheduler_pb2 as pb
from callmeshpb.v1.scheduler_pb2 import App, AppState


@dataclass(frozen=True, slots=True)
class Unplaced:
    """Why an instance that is missing has no place; None: none is, or it has one."""

    newest: Placement | None
    # Of an older revision that serves.
    serving: Placement | None


@dataclass(frozen=True, slots=True)
class Said:
    """What the record shall say."""

    state: AppState
    findings: tuple[Finding, ...]


def of_leaving(app: App, crew: Crew) -> Said:
    """An app that is being deleted or that is inactive."""
    left = len(crew.everyone())
    word = "deleted" if app.deleting else "inactive"
    reason = "Deleting" if app.deleting else "Inactive"
    if left:
        message = f"is being {'deleted' if app.deleting else 'deactivated'}: {_count(left)} to stop"
    elif app.deleting:
        message = f"is {word}"
    else:
        message = f"is {word}: activate it to call it"
    return Said(
        pb.APP_STATE_DELETING if app.deleting else pb.APP_STATE_INACTIVE,
        (
            Finding(c.READY, FALSE, reason, message),
            Finding(c.PROGRESSING, TRUE if left else FALSE, reason, message),
        ),
    )


def of_active(app: App, crew: Crew, gate: Gate, rollout: Rollout, unplaced: Unplaced) -> Said:
    """An app that is to run. ``app`` names the serving revision of after this decision."""
    progress = _progress(app, crew, gate, rollout, unplaced.newest)
    dependencies = Finding(
        c.DEPENDENCIES_READY,
        TRUE if gate.open else FALSE,
        gate.reason,
        gate.message if not gate.open else "every dependency has been ready",
    )
    callable_now = ready(crew.newest if rollout.complete else crew.serving)
    if callable_now:
        found = _serving(app, rollout, progress, callable_now)
    else:
        found = _not_serving(app, crew, rollout, progress, unplaced.serving)
    return Said(_state(rollout, progress, callable_now), (dependencies, progress, found))


def _progress(
    app: App, crew: Crew, gate: Gate, rollout: Rollout, unplaced: Placement | None
) -> Finding:
    """The newest revision; the first rule that fits wins."""
    revision = f"revision {app.revision}"
    have, are_ready = len(crew.newest), ready(crew.newest)
    wanted = wanted_replicas(app.spec)
    # A failure outlives everything but a new revision: it is the news.
    if rollout.failure:
        message = failure_message(app, rollout.failure)
        return Finding(c.PROGRESSING, FALSE, c.START_FAILED, message)
    if not gate.open:
        return Finding(c.PROGRESSING, FALSE, gate.reason, f"{revision} {gate.message}")
    # Its own old revision is in its way: that passes by itself.
    if unplaced is not None and crew.leaving and hard_coded_port(app.spec):
        message = f"{revision} starts when the old instances have left port {app.spec.port}"
        return Finding(c.PROGRESSING, TRUE, "StoppingOld", message)
    if rollout.complete and crew.moving:
        return _moving(crew, revision, wanted, unplaced)
    if unplaced is not None and have < wanted:
        message = f"{revision} fits no node: {unplaced.why}"
        reason = c.UNSUITABLE if unplaced.never else c.UNSCHEDULABLE
        return Finding(c.PROGRESSING, FALSE, reason, message)
    if have < wanted:
        return Finding(c.PROGRESSING, TRUE, "Placing", f"{revision} is being placed")
    if rollout.complete:
        return Finding(c.PROGRESSING, FALSE, "Complete", f"{revision} serves")
    if rollout.started:
        message = f"{revision} is starting: {are_ready} of {wanted} ready"
        message += _first_message(crew.newest, mark="; ")
        return Finding(c.PROGRESSING, TRUE, c.STARTING, message)
    message = f"{revision} is being prepared{_first_message(crew.newest)}"
    return Finding(c.PROGRESSING, TRUE, "Preparing", message)


def _moving(crew: Crew, revision: str, wanted: int, unplaced: Placement | None) -> Finding:
    """Some of its instances are on nodes that are drained."""
    staying = [each for each in crew.newest if each.id not in crew.moving]
    left = [each for each in crew.newest if each.id in crew.moving]
    names = sorted({each.node for each in left})
    nodes = " and ".join(f"node `{each}`" for each in names)
    drained = f"{nodes}, which {'is' if len(names) == 1 else 'are'} drained"
    if unplaced is not None:
        message = f"{revision} has to leave {drained}, and fits no other: {unplaced.why}"
        return Finding(c.PROGRESSING, FALSE, c.CANNOT_MOVE, message)
    message = f"{revision} leaves {drained}: {ready(staying)} of {wanted} ready elsewhere"
    message += _first_message(staying, mark="; ")
    return Finding(c.PROGRESSING, TRUE, "Moving", message)


def _serving(app: App, rollout: Rollout, progress: Finding, callable_now: int) -> Finding:
    wanted = wanted_replicas(app.serving_spec)
    message = f"{callable_now} of {wanted} ready"
    if not rollout.complete:
        message += f" of revision {app.serving_revision}; {_first_line(progress.message)}"
    elif progress.reason in (*c.FITS_NO_NODE, c.CANNOT_MOVE):
        message += f"; {progress.message}"
    reason = c.SERVING if callable_now >= wanted else "Degraded"
    return Finding(c.READY, TRUE, reason, message)


def _not_serving(
    app: App, crew: Crew, rollout: Rollout, progress: Finding, unplaced: Placement | None
) -> Finding:
    if rollout.complete and progress.reason == "Complete":
        return _none_ready(app, crew)
    message = _first_line(progress.message)
    if rollout.failure and app.serving_revision:
        message += f", and revision {app.serving_revision} "
        message += "is not ready" if unplaced is None else f"fits no node: {unplaced.why}"
    return Finding(c.READY, FALSE, progress.reason, message)


def _none_ready(app: App, crew: Crew) -> Finding:
    """It was ready before: what its instances are at now."""
    for each in crew.newest:
        if each.status.consecutive_failures >= FAILURES:
            how = each.status.last_exit or each.status.message
            message = f"crashes again and again ({how}): see `callmesh logs app/{app.spec.name}`"
            return Finding(c.READY, FALSE, "CrashLoop", message)
    for each in crew.newest:
        if each.status.state == pb.INSTANCE_STATE_UNHEALTHY:
            message = f"fails its health check: {each.status.message}"
            return Finding(c.READY, FALSE, "Unhealthy", message)
    for each in crew.newest:
        if each.status.last_exit:
            message = f"ended ({each.status.last_exit}) and is being started again"
            return Finding(c.READY, FALSE, "Restarting", message)
    return Finding(c.READY, FALSE, c.STARTING, f"is starting{_first_message(crew.newest)}")


def _state(rollout: Rollout, progress: Finding, callable_now: int) -> AppState:
    """One word; the first rule that fits wins."""
    if rollout.failure:
        return pb.APP_STATE_FAILED
    if rollout.complete and callable_now:
        return pb.APP_STATE_READY
    if progress.status == FALSE and progress.reason != "Complete":
        return pb.APP_STATE_PENDING
    return pb.APP_STATE_DEPLOYING


def _first_message(instances: Instances, mark: str = ": ") -> str:
    for each in instances:
        if each.status.message and not ready([each]):
            return f"{mark}{_first_line(each.status.message)}"
    return ""


def _first_line(text: str) -> str:
    return text.split("\n", 1)[0]


def _count(instances: int) -> str:
    return "1 instance" if instances == 1 else f"{instances} instances"
