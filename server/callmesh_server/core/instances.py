"""One instance: what its node reports of it, and how it is told to go."""

from __future__ import annotations

from callmesh_server.core.actions import Action, NoteReported, PutInstance, RemoveInstance
from callmesh_server.core.times import stamp
from callmesh_server.core.world import World, fence_of
from callmeshpb.v1 import scheduler_pb2 as pb
from callmeshpb.v1.node_pb2 import InstanceReport
from callmeshpb.v1.scheduler_pb2 import Instance, InstanceIntent, InstanceStatus

# A process in one of these may have calls in flight.
CALLABLE = frozenset(
    {pb.INSTANCE_STATE_READY, pb.INSTANCE_STATE_UNHEALTHY, pb.INSTANCE_STATE_DRAINING}
)
# Its code and environment are there and its process has been started.
STARTED = CALLABLE | {pb.INSTANCE_STATE_STARTING, pb.INSTANCE_STATE_BACKOFF}


def reported(world: World, node: str, report: InstanceReport, now: float) -> list[Action]:
    """What follows from a node's word about an instance.

    One that is not known is not answered: it is missing in the node's desired
    set, which tells the node to end it.
    """
    instance = world.instances.get(report.id)
    if instance is None or instance.node != node:
        return []
    if fence_of(report.fence) < fence_of(instance.fence):
        return []
    noted: list[Action] = []
    state = world.nodes.get(node)
    if state is not None and not state.instances_complete:
        mark, *fence = instance_mark(report.id)
        noted.append(NoteReported(node, mark, (fence[0], fence[1])))
    if report.gone:
        return [*noted, *forgotten(instance, now)]
    status = InstanceStatus()
    status.CopyFrom(report.status)
    _stamp_change(status, instance.status, now)
    if status == instance.status:
        return noted
    return [*noted, PutInstance(_with_status(instance, status), durable=False)]


def forgotten(instance: Instance, now: float) -> list[Action]:
    """The node does not have it: it is to be started anew, or it is gone as it should be."""
    if instance.intent != pb.INSTANCE_INTENT_RUN:
        return [RemoveInstance(instance.id)]
    if instance.status.state in (pb.INSTANCE_STATE_PENDING, pb.INSTANCE_STATE_UNSPECIFIED):
        return []
    status = InstanceStatus(state=pb.INSTANCE_STATE_PENDING, message="its node starts it again")
    status.changed_at.CopyFrom(stamp(now))
    return [PutInstance(_with_status(instance, status), durable=False)]


def out_of_sight(instance: Instance, why: str, now: float) -> list[Action]:
    """Its node is lost: what it last reported does not hold any more."""
    status = InstanceStatus()
    status.CopyFrom(instance.status)
    status.state = pb.INSTANCE_STATE_PENDING
    status.message = why
    if status.message == instance.status.message:
        return []
    status.changed_at.CopyFrom(stamp(now))
    return [PutInstance(_with_status(instance, status), durable=False)]


def leave(instance: Instance) -> list[Action]:
    """Tell it to go: with a drain where it may have calls, else at once. Never taken back."""
    intent: InstanceIntent = (
        pb.INSTANCE_INTENT_DRAIN if instance.status.state in CALLABLE else pb.INSTANCE_INTENT_STOP
    )
    if instance.intent in (intent, pb.INSTANCE_INTENT_STOP):
        return []
    after = Instance()
    after.CopyFrom(instance)
    after.intent = intent
    return [PutInstance(after)]


def instance_mark(identifier: str) -> tuple[str, int, int]:
    """How a reported instance stands in `World.reported`; no run is called so."""
    return f"instance/{identifier}", 0, 0


def _with_status(instance: Instance, status: InstanceStatus) -> Instance:
    after = Instance()
    after.CopyFrom(instance)
    after.status.CopyFrom(status)
    return after


def _stamp_change(status: InstanceStatus, before: InstanceStatus, now: float) -> None:
    """``changed_at`` is when this server heard of the state: nodes' clocks differ."""
    same = (status.state, status.pid, status.restarts) == (
        before.state,
        before.pid,
        before.restarts,
    )
    status.changed_at.CopyFrom(before.changed_at if same else stamp(now))
