"""``depends_on``: which apps hold an app back, and what those wait for in turn."""

from __future__ import annotations

from dataclasses import dataclass

from callmesh_server.core import conditions
from callmesh_server.core.world import World
from callmesh_wire.names import AppName
from callmeshpb.v1 import scheduler_pb2 as pb
from callmeshpb.v1.scheduler_pb2 import App


@dataclass(frozen=True, slots=True)
class Gate:
    """Whether an app's newest revision may start."""

    open: bool
    reason: str = "DependenciesReady"
    # What follows "app `x` …" when the gate is closed.
    message: str = ""


def gate_of(world: World, name: AppName) -> Gate:
    """The gate of the app's newest revision.

    It opens once every dependency has been ready once, and never closes again
    for that revision.
    """
    app = world.apps[name]
    if app.serving_revision == app.revision:
        return Gate(open=True)
    if conditions.is_true(app, conditions.DEPENDENCIES_READY):
        return Gate(open=True)
    return _closed_by(world, name, app, seen=frozenset({name}))


def _closed_by(world: World, name: AppName, app: App, seen: frozenset[AppName]) -> Gate:
    missing = False
    waits: list[str] = []
    for each in app.spec.depends_on:
        target = AppName(name.project, name.domain, each)
        dependency = world.apps.get(target)
        if dependency is None or dependency.deleting:
            missing = True
            waits.append(f"waits for app `{each}`, which does not exist: deploy it")
        elif dependency.serving_revision == 0:
            waits.append(f"waits for app `{each}`, {_why(world, target, dependency, seen)}")
    if not waits:
        return Gate(open=True)
    reason = "DependencyMissing" if missing else "WaitingForDependencies"
    return Gate(open=False, reason=reason, message=", and ".join(waits))


def _why(world: World, name: AppName, app: App, seen: frozenset[AppName]) -> str:
    """Why a dependency is not ready, as a relative clause."""
    if name in seen:
        return "which waits for it in turn: break the cycle in `depends_on`"
    if app.desired_state == pb.DESIRED_STATE_INACTIVE:
        return "which is inactive: activate it"
    deeper = _closed_by(world, name, app, seen | {name})
    if not deeper.open:
        return f"which {deeper.message}"
    if app.state == pb.APP_STATE_FAILED:
        return "which failed to start"
    placing = conditions.find(app, conditions.PROGRESSING)
    if placing is not None and placing.reason in conditions.FITS_NO_NODE:
        return "which fits no node"
    return "which is starting"
