"""One app: from what is wanted and what is there to the next actions.

Level-driven: every decision starts from the whole picture of the app, so the
same function serves the deploy, the crash, the scale, the restart of the server
and the lost node. One instance is placed per decision, because each placement
changes what is free; the put brings the app here again.
"""

from __future__ import annotations

from dataclasses import dataclass

from callmesh_server.core import appstate, conditions
from callmesh_server.core.actions import (
    Action,
    PutApp,
    PutInstance,
    RemoveApp,
    RemoveInstance,
    WakeAt,
)
from callmesh_server.core.crew import Crew, Instances, crew_of, ready
from callmesh_server.core.gates import gate_of
from callmesh_server.core.instances import leave
from callmesh_server.core.placement import Placement, pick_for_instance
from callmesh_server.core.revisions import hard_coded_port, marked_ready, spec_of
from callmesh_server.core.rollout import rollout_of
from callmesh_server.core.shift import Shift
from callmesh_server.core.times import stamp
from callmesh_server.core.world import AppKey, Ids, World, app_name
from callmesh_wire.names import AppName
from callmeshpb.v1 import scheduler_pb2 as pb
from callmeshpb.v1.scheduler_pb2 import App, AppSpec, Instance


def reconcile(world: World, name: AppName, now: float, ids: Ids) -> list[Action]:
    """What one app needs now."""
    app = world.apps.get(name)
    if app is None:
        return _all_leave(world.instances_of(name))
    crew = crew_of(world, app)
    if crew.unheard:
        return []
    if app.deleting or app.desired_state == pb.DESIRED_STATE_INACTIVE:
        return _wind_down(app, crew, now)
    return _keep_up(world, app, crew, now, ids)


@dataclass(frozen=True, slots=True)
class _Adjusted:
    """What brings a group of instances to its number."""

    actions: list[Action]
    # One is missing, and no node takes it.
    unplaced: Placement | None = None


def _wind_down(app: App, crew: Crew, now: float) -> list[Action]:
    actions = _all_leave([*crew.newest, *crew.serving, *crew.superseded, *crew.leaving])
    actions += [RemoveInstance(each.id) for each in crew.lost]
    if app.deleting and not crew.everyone():
        return [RemoveApp(app_name(app))]
    return [*_say(app, app, appstate.of_leaving(app, crew), now), *actions]


def _keep_up(world: World, app: App, crew: Crew, now: float, ids: Ids) -> list[Action]:
    name = app_name(app)
    gate = gate_of(world, name)
    rollout = rollout_of(app, crew, gate, now)
    after = App()
    after.CopyFrom(app)
    if rollout.takes_over:
        marked_ready(after, app.revision)
    newest = _adjust(
        world, app.spec, app.revision, Shift.of(crew.newest, crew.moving, rollout.newest), now, ids
    )
    serving = _adjust(
        world,
        app.serving_spec,
        app.serving_revision,
        Shift.of(crew.serving, crew.moving, rollout.serving),
        now,
        ids,
    )
    unplaced = appstate.Unplaced(newest.unplaced, serving.unplaced)
    said = appstate.of_active(after, crew, gate, rollout, unplaced)
    actions = [
        *_say(app, after, said, now),
        *newest.actions,
        *serving.actions,
        *_all_leave([*crew.superseded, *crew.leaving]),
        *_forget_lost(crew, app, rollout.newest, rollout.serving),
    ]
    limit_at = rollout.limit_at
    return [*actions, WakeAt(AppKey(name), limit_at)] if limit_at > now else actions


def _adjust(
    world: World, spec: AppSpec, revision: int, shift: Shift, now: float, ids: Ids
) -> _Adjusted:
    """Bring a revision's instances to their number: all surplus away, or one more."""
    surplus = shift.surplus()
    if surplus:
        return _Adjusted(_all_leave(surplus))
    if not shift.lacks:
        return _Adjusted([])
    name = AppName(spec.project, spec.domain, spec.name)
    found = pick_for_instance(world, name, spec, revision)
    if not found.node:
        return _Adjusted([], found)
    instance = Instance(
        id=f"{name.name}-{revision}-{ids.suffix()}",
        project=name.project,
        domain=name.domain,
        app=name.name,
        revision=revision,
        node=found.node,
        intent=pb.INSTANCE_INTENT_RUN,
        fence=ids.next_fence(),
    )
    instance.status.state = pb.INSTANCE_STATE_PENDING
    instance.created_at.CopyFrom(stamp(now))
    instance.status.changed_at.CopyFrom(stamp(now))
    return _Adjusted([PutInstance(instance)])


def _all_leave(instances: Instances) -> list[Action]:
    return [action for each in instances for action in leave(each)]


def _forget_lost(crew: Crew, app: App, newest: int, serving: int) -> list[Action]:
    """Forget what is on a lost node once it is not wanted or was replaced.

    Until then the record stays: if the node comes back first, it is adopted.
    """
    replaced = {
        app.revision: ready(crew.newest) >= newest,
        app.serving_revision: ready(
            crew.newest if app.serving_revision == app.revision else crew.serving
        )
        >= (newest if app.serving_revision == app.revision else serving),
    }
    actions: list[Action] = []
    for each in crew.lost:
        if each.intent == pb.INSTANCE_INTENT_RUN and not replaced.get(each.revision, True):
            continue
        spec = spec_of(app, each.revision)
        if spec is not None and hard_coded_port(spec):
            # Its process may live, and hold the port when the node comes back:
            # until then the record keeps others off that port of that node.
            actions += leave(each)
        else:
            actions.append(RemoveInstance(each.id))
    return actions


def _say(before: App, after: App, said: appstate.Said, now: float) -> list[Action]:
    """Put the record if anything in it differs. A new serving revision is durable."""
    record = App()
    record.CopyFrom(after)
    record.state = said.state
    kept = conditions.replaced(after, said.findings, now)
    del record.conditions[:]
    record.conditions.extend(kept)
    if record == before:
        return []
    record.etag += 1
    durable = record.serving_revision != before.serving_revision
    return [PutApp(record, durable)]
