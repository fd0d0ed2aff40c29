"""What of a record decides whether a change of it is anybody else's affair."""

from __future__ import annotations

from callmesh_server.core import conditions
from callmesh_server.core.world import NodeState
from callmeshpb.v1 import scheduler_pb2
from callmeshpb.v1.scheduler_pb2 import App


def shown(node: NodeState) -> tuple[object, ...]:
    """What the mesh view is made of."""
    return node.record.address, node.record.zone, node.lost, node.heard


def room(node: NodeState) -> tuple[object, ...]:
    """What says whether the node takes an instance, but for what is on it."""
    return node.connected, node.lost, node.draining, node.record.capacity


def may_lack_instances(app: App) -> bool:
    """Whether a place that becomes free may be one that the app waits for."""
    if app.state == scheduler_pb2.APP_STATE_INACTIVE:
        return False
    ready = conditions.find(app, conditions.READY)
    return (
        app.state != scheduler_pb2.APP_STATE_READY
        or ready is None
        or ready.reason != conditions.SERVING
        or conditions.holds(app, conditions.PROGRESSING, conditions.CANNOT_MOVE)
    )
