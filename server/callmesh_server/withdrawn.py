"""Instances that nobody is sent to any more, and the nodes that have not heard of that yet.

An instance leaves the mesh view before it is told to go. Until the Envoys of
the other nodes have taken that view they call it, and it has to answer: they
may know of no other one that does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from callmesh_server.core.instances import CALLABLE
from callmesh_server.core.world import World
from callmeshpb.v1 import registry_pb2, scheduler_pb2
from callmeshpb.v1.node_pb2 import MeshView

_RUN = scheduler_pb2.INSTANCE_INTENT_RUN


@dataclass(frozen=True, slots=True)
class _Leaver:
    node: str
    # The first view without it.
    version: int
    # Other nodes whose Envoy has an earlier one.
    behind: set[str]


class Withdrawn:
    """Who may still be called by whom."""

    def __init__(self, world: World, push_desired: Callable[[str], None]) -> None:
        """``push_desired`` sends a node's desired set again."""
        self._world = world
        self._push_desired = push_desired
        # By instance: its node.
        self._offered: dict[str, str] | None = None
        self._version = 0
        self._leavers: dict[str, _Leaver] = {}
        # Nodes whose agents do not tell which view they have.
        self._silent: set[str] = set()

    def viewed(self, view: MeshView) -> None:
        """This is what nodes are being sent, or were; nodes may have been lost since."""
        if view.version != self._version:
            self._version = view.version
            self._compare(view)
        living = {name for name, node in self._world.nodes.items() if not node.lost}
        for each in self._leavers.values():
            each.behind.intersection_update(living)
        self._settle()

    def taken(self, node: str, version: int) -> None:
        """A node's Envoy routes by this view."""
        self._silent.discard(node)
        for each in self._leavers.values():
            if version >= each.version:
                each.behind.discard(node)
        self._settle()

    def never_tells(self, node: str) -> None:
        """The agent of this node does not say which view it has: it is not waited for."""
        self._silent.add(node)
        for each in self._leavers.values():
            each.behind.discard(node)
        self._settle()

    def is_called_elsewhere(self, instance: scheduler_pb2.Instance) -> bool:
        """Whether an instance that is to go may still get calls from another node."""
        if instance.intent == _RUN:
            return False
        return instance.id in self._leavers or instance.id in (self._offered or ())

    def _compare(self, view: MeshView) -> None:
        before, self._offered = self._offered, _offered(view)
        if before is None:
            # Of an earlier life of the server, whose last view is not known.
            before = {
                each.id: each.node
                for each in self._world.instances.values()
                if each.intent != _RUN and each.status.state in CALLABLE
            }
        for identifier in self._offered:
            self._leavers.pop(identifier, None)
        callers = {
            name
            for name, node in self._world.nodes.items()
            if not node.lost and name not in self._silent
        }
        for identifier in before.keys() - self._offered.keys():
            node = before[identifier]
            self._leavers[identifier] = _Leaver(node, view.version, callers - {node})

    def _settle(self) -> None:
        gone = [
            identifier
            for identifier, leaver in self._leavers.items()
            if not leaver.behind or identifier not in self._world.instances
        ]
        nodes = [self._leavers.pop(identifier).node for identifier in gone]
        for node in dict.fromkeys(nodes):
            self._push_desired(node)


def _offered(view: MeshView) -> dict[str, str]:
    return {
        endpoint.instance_id: endpoint.node
        for service in view.services
        for endpoint in service.service.endpoints
        if endpoint.health == registry_pb2.ENDPOINT_HEALTH_READY and not endpoint.local_only
    }
