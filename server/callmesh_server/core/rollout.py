"""How far an app's newest revision is, and what it needs next. Decides, places nothing.

A revision *takes over* when all its wanted instances are ready at once. It has
*failed* when an instance failed to start three times in a row or not all were
ready within the start limit; then an older revision that serves goes on
serving. Failure is remembered in the Progressing condition until the next
revision, or until the user activates the app again.
"""

from __future__ import annotations

from dataclasses import dataclass

from callmesh_server.core import conditions
from callmesh_server.core.crew import Crew, Instances, ready
from callmesh_server.core.gates import Gate
from callmesh_server.core.instances import STARTED
from callmesh_server.core.revisions import hard_coded_port, wanted_replicas
from callmesh_server.core.times import seconds, span
from callmeshpb.v1.scheduler_pb2 import INSTANCE_STATE_PREPARING, App, Instance

FAILURES = 3
STARTUP_LIMIT = 60.0
# The node ends a start that takes too long itself; it may be a little later.
STARTUP_MARGIN = 2.0


@dataclass(frozen=True, slots=True)
class Rollout:
    """The step that an active app is at."""

    # The newest revision serves already, or takes over now.
    complete: bool
    takes_over: bool
    # Why the newest revision failed, with its last words; or empty.
    failure: str
    # All wanted instances have been started at least once.
    started: bool
    # How many instances the newest and the serving older revision shall have.
    newest: int
    serving: int
    # When the start limit is over, epoch seconds; 0: it does not run.
    limit_at: float


def rollout_of(app: App, crew: Crew, gate: Gate, now: float) -> Rollout:
    """Where the app's newest revision stands."""
    wanted = wanted_replicas(app.spec)
    serves = app.serving_revision == app.revision
    takes_over = not serves and gate.open and ready(crew.newest) >= wanted
    complete = serves or takes_over
    limit_at = 0.0 if complete else _limit_at(app, crew)
    failure = "" if complete else _failure(app, crew.newest, limit_at, now)
    older = app.serving_revision if not complete else 0
    return Rollout(
        complete=complete,
        takes_over=takes_over,
        failure=failure,
        started=_all_started(app, crew.newest, wanted),
        newest=0 if not gate.open or (failure and older) else wanted,
        serving=_wanted_of_older(app, gate, failure) if older else 0,
        limit_at=0.0 if failure else limit_at,
    )


def stops_first(app: App) -> bool:
    """Whether the old revision has to end before the newest can start: both bind one port."""
    port = hard_coded_port(app.spec)
    return bool(port) and port == hard_coded_port(app.serving_spec)


def _wanted_of_older(app: App, gate: Gate, failure: str) -> int:
    if stops_first(app) and gate.open and not failure:
        return 0
    return wanted_replicas(app.serving_spec)


def _limit_at(app: App, crew: Crew) -> float:
    """When the start limit is over; time in which nobody listened does not count."""
    found = conditions.find(app, conditions.PROGRESSING)
    if found is None or not conditions.holds(app, conditions.PROGRESSING, conditions.STARTING):
        return 0.0
    limit = span(app.spec.timeouts.startup) or STARTUP_LIMIT
    began = max(seconds(found.changed_at), crew.heard_since)
    for each in crew.newest:
        # An environment may take longer to build than an app may take to start.
        if each.status.state == INSTANCE_STATE_PREPARING:
            return 0.0
        began = max(began, seconds(each.status.prepared_at))
    return began + limit + STARTUP_MARGIN


def _failure(app: App, newest: Instances, limit_at: float, now: float) -> str:
    for each in newest:
        if each.status.consecutive_failures >= FAILURES:
            how = each.status.last_exit or each.status.message or "it never became ready"
            times = int(each.status.consecutive_failures)
            # The count goes on growing; the sentence shall not.
            said = f"{FAILURES} times in a row" if times >= FAILURES else f"{times} times"
            return f"failed to start {said}: {how}{_tail(each)}"
    latched = conditions.find(app, conditions.PROGRESSING)
    if latched is not None and conditions.holds(
        app, conditions.PROGRESSING, conditions.START_FAILED
    ):
        return str(latched.message).removeprefix(_prefix(app))
    if limit_at and now >= limit_at:
        limit = span(app.spec.timeouts.startup) or STARTUP_LIMIT
        slow = [each for each in newest if each not in _ready_ones(newest)]
        said = next((each.status.message for each in slow if each.status.message), "")
        within = f"not ready within {limit:g} s"
        # The node may have said the same, and why.
        detail = said.removeprefix(within).removeprefix(": ")
        tail = _tail(slow[0]) if slow else ""
        return f"was {within}{f': {detail}' if detail else ''}{tail}"
    return ""


def failure_message(app: App, failure: str) -> str:
    """The failure as the condition's message: a sentence, then the last log lines."""
    return _prefix(app) + failure


def _prefix(app: App) -> str:
    return f"revision {app.revision} "


def _ready_ones(instances: Instances) -> list[Instance]:
    return [each for each in instances if ready([each])]


def _tail(instance: Instance) -> str:
    lines = "\n".join(instance.status.log_tail)
    return f"\n{lines}" if lines else ""


def _all_started(app: App, newest: Instances, wanted: int) -> bool:
    if len(newest) < wanted:
        return False
    if conditions.holds(app, conditions.PROGRESSING, conditions.STARTING):
        return True
    return all(each.status.state in STARTED for each in newest)
