"""A new app whose mesh port somebody else has on a node gets another one.

An app that was ready once keeps its port, for its callers know it: there the
node's condition says who is in the way.
"""

from __future__ import annotations

from collections.abc import Iterable

from callmesh_server.api.addresses import Addresses
from callmesh_server.apply import Applier
from callmesh_server.core.actions import PutApp
from callmesh_server.core.world import World
from callmesh_server.mesh_ports import MeshPorts
from callmesh_server.routed import Routed
from callmeshpb.v1 import scheduler_pb2


class PortMoves:
    """Moves new apps out of the way."""

    def __init__(
        self,
        world: World,
        ports: MeshPorts,
        routed: Routed,
        addresses: Addresses,
        applier: Applier,
    ) -> None:
        self._world = world
        self._ports = ports
        self._routed = routed
        self._addresses = addresses
        self._applier = applier

    def refused(self, node: str, taken: Iterable[int]) -> None:
        """A node said which mesh ports it cannot bind: all of them."""
        taken = frozenset(taken)
        self._ports.refused(node, taken)
        for name, app in list(self._world.apps.items()):
            if app.mesh_port not in taken or self._routed.was_ready(name):
                continue
            port, changes = self._ports.reassign(name)
            moved = scheduler_pb2.App()
            moved.CopyFrom(app)
            moved.mesh_port = port
            moved.endpoint = self._addresses.endpoint(port)
            self._applier.also(f"port/{app.mesh_port}/{port}", changes)
            self._applier.perform([PutApp(moved)])
            self._routed.forget(name)
