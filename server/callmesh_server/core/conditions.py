"""Conditions of apps: their types and reasons, read and replaced.

``changed_at`` moves when status, reason or revision change, and stays when only
the message does.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from callmesh_server.core.times import stamp
from callmeshpb.v1 import common_pb2
from callmeshpb.v1.common_pb2 import Condition
from callmeshpb.v1.scheduler_pb2 import App

READY = "Ready"
PROGRESSING = "Progressing"
DEPENDENCIES_READY = "DependenciesReady"

TRUE = common_pb2.CONDITION_STATUS_TRUE
FALSE = common_pb2.CONDITION_STATUS_FALSE
UNKNOWN = common_pb2.CONDITION_STATUS_UNKNOWN

# Reasons that decisions read back.
UNSCHEDULABLE = "Unschedulable"
UNSUITABLE = "Unsuitable"
FITS_NO_NODE = (UNSCHEDULABLE, UNSUITABLE)
STARTING = "Starting"
START_FAILED = "StartFailed"
SERVING = "Serving"
# Of an app that serves from a node that is draining: it fits no other.
CANNOT_MOVE = "CannotMove"


@dataclass(frozen=True, slots=True)
class Finding:
    """A condition as it was found just now."""

    type: str
    status: common_pb2.ConditionStatus
    reason: str
    message: str


def find(app: App, kind: str) -> Condition | None:
    """The app's condition of this type, or None."""
    for each in app.conditions:
        if each.type == kind:
            return each
    return None


def holds(app: App, kind: str, reason: str) -> bool:
    """Whether the condition has this reason, observed for the app's newest revision."""
    found = find(app, kind)
    return found is not None and found.reason == reason and found.observed_revision == app.revision


def is_true(app: App, kind: str) -> bool:
    """Whether the condition is true, observed for the app's newest revision."""
    found = find(app, kind)
    return found is not None and found.status == TRUE and found.observed_revision == app.revision


def replaced(app: App, findings: Iterable[Finding], now: float) -> list[Condition]:
    """The app's conditions after these findings, sorted by type."""
    by_type = {each.type: each for each in app.conditions}
    for finding in findings:
        before = by_type.get(finding.type)
        after = Condition(
            type=finding.type,
            status=finding.status,
            reason=finding.reason,
            message=finding.message,
            observed_revision=app.revision,
        )
        same = before is not None and (
            before.status,
            before.reason,
            before.observed_revision,
        ) == (after.status, after.reason, after.observed_revision)
        after.changed_at.CopyFrom(before.changed_at if same and before else stamp(now))
        by_type[finding.type] = after
    return [by_type[each] for each in sorted(by_type)]
