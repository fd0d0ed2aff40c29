"""The one door of the loop: a dirty key to the next actions."""

from __future__ import annotations

from callmesh_server.core import deployments, liveness, runs
from callmesh_server.core.actions import Action
from callmesh_server.core.world import AppKey, Ids, Key, NodeKey, QueueKey, RunKey, World


def decide(world: World, key: Key, now: float, ids: Ids) -> list[Action]:
    """What follows from the present for ``key``.

    ``ViewKey`` and ``DesiredKey`` give nothing: pushing them is the edge's own.
    """
    match key:
        case RunKey(name):
            return runs.reconcile(world, name, now, ids)
        case QueueKey():
            return runs.reconcile_queue(world, now, ids)
        case AppKey(name):
            return deployments.reconcile(world, name, now, ids)
        case NodeKey(name):
            return liveness.reconcile(world, name, now)
        case _:
            return []
