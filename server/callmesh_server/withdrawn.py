"""Instances that nobody is sent to any more, and the nodes that have not heard of that yet.

An instance leaves the mesh view before it is told to go. Until the Envoys of
the other nodes have taken that view they call it, and it has to answer: they
may know of no other one that does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from callmesh_server.core.instances import CALLABLE
from callmesh_server.core.viewlog import Change
from callmesh_server.core.world import World
from callmeshpb.v1 import registry_pb2, scheduler_pb2
from callmeshpb.v1.node_pb2 import ServiceView

_RUN = scheduler_pb2.INSTANCE_INTENT_RUN


@dataclass(frozen=True, slots=True)
class _Wave:
    """Instances that left in one version of the view."""

    # By instance: its node.
    leavers: dict[str, str]
    # Nodes whose Envoy has an earlier view. An instance waits for the others than its own.
    behind: set[str]


class Withdrawn:
    """Who may still be called by whom."""

    def __init__(self, world: World, push_desired: Callable[[str], None]) -> None:
        """``push_desired`` sends a node's desired set again."""
        self._world = world
        self._push_desired = push_desired
        # By instance that nodes are sent to: its node.
        self._offered: dict[str, str] = {}
        self._version = 0
        # By version, in the order of versions; and the version in which an instance left.
        self._waves: dict[int, _Wave] = {}
        self._left_in: dict[str, int] = {}
        # Nodes whose agents do not tell which view they have.
        self._silent: set[str] = set()

    def viewed(self, version: int, changes: Iterable[Change]) -> None:
        """Nodes are sent this version, which differs by these; nodes may have been lost since."""
        if version != self._version:
            is_first, self._version = not self._version, version
            self._compare(version, changes, is_first=is_first)
        if not self._waves:
            return
        living = {name for name, node in self._world.nodes.items() if not node.lost}
        for each in self._waves.values():
            each.behind.intersection_update(living)
        gone = [each for each in self._left_in if each not in self._world.instances]
        self._settle(gone)

    def taken(self, node: str, version: int) -> None:
        """A node's Envoy routes by this view."""
        self._silent.discard(node)
        for left_in, wave in self._waves.items():
            if left_in <= version:
                wave.behind.discard(node)
        self._settle()

    def never_tells(self, node: str) -> None:
        """The agent of this node does not say which view it has: it is not waited for."""
        self._silent.add(node)
        for wave in self._waves.values():
            wave.behind.discard(node)
        self._settle()

    def is_called_elsewhere(self, instance: scheduler_pb2.Instance) -> bool:
        """Whether an instance that is to go may still get calls from another node."""
        if instance.intent == _RUN:
            return False
        return instance.id in self._left_in or instance.id in self._offered

    def _compare(self, version: int, changes: Iterable[Change], *, is_first: bool) -> None:
        before: dict[str, str] = {}
        after: dict[str, str] = {}
        for was, now in changes:
            before |= _offered(was)
            after |= _offered(now)
        if is_first:
            # Of an earlier life of the server, whose last view is not known: what stays is
            # offered again once its node was heard.
            before = {
                each.id: each.node
                for each in self._world.instances.values()
                if each.status.state in CALLABLE
            }
        for identifier in after:
            self._forget(identifier)
        leavers = {each: node for each, node in before.items() if each not in after}
        for identifier in leavers:
            self._offered.pop(identifier, None)
            self._left_in[identifier] = version
        self._offered |= after
        if leavers:
            callers = {
                name
                for name, node in self._world.nodes.items()
                if not node.lost and name not in self._silent
            }
            self._waves[version] = _Wave(leavers, callers)

    def _settle(self, gone: Iterable[str] = ()) -> None:
        done = list(gone)
        for wave in self._waves.values():
            if len(wave.behind) <= 1:
                done += [each for each, node in wave.leavers.items() if wave.behind <= {node}]
        nodes = [self._forget(each) for each in done]
        for node in dict.fromkeys(nodes):
            if node is not None:
                self._push_desired(node)

    def _forget(self, identifier: str) -> str | None:
        """It waits no longer; its node, if it did."""
        version = self._left_in.pop(identifier, None)
        if version is None:
            return None
        wave = self._waves[version]
        node = wave.leavers.pop(identifier)
        if not wave.leavers:
            del self._waves[version]
        return node


def _offered(view: ServiceView | None) -> dict[str, str]:
    if view is None:
        return {}
    return {
        endpoint.instance_id: endpoint.node
        for endpoint in view.service.endpoints
        if endpoint.health == registry_pb2.ENDPOINT_HEALTH_READY and not endpoint.local_only
    }
