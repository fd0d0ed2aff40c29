"""An instance that goes is called by other nodes until their Envoys have a view without it."""

from __future__ import annotations

import pytest

from callmesh_server.core.actions import PutInstance, PutNode, RemoveInstance
from callmesh_server.core.ledger import Ledger
from callmesh_server.core.world import NodeState
from callmesh_server.withdrawn import Withdrawn
from callmeshpb.v1 import node_pb2, registry_pb2
from callmeshpb.v1 import scheduler_pb2 as pb

READY, DRAINING = registry_pb2.ENDPOINT_HEALTH_READY, registry_pb2.ENDPOINT_HEALTH_DRAINING


class Three:
    """Nodes `a`, `b` and `c`, and an instance `web-1` on `a`."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.again: list[str] = []
        self.seen: node_pb2.ServiceView | None = None
        for name in "abc":
            self.node(name)
        self.withdrawn = Withdrawn(self.ledger.world, self.again.append)

    def node(self, name: str, *, lost: bool = False) -> None:
        self.ledger.apply(PutNode(NodeState(pb.Node(name=name), connected=not lost, lost=lost)))

    def going(
        self,
        state: pb.InstanceState = pb.INSTANCE_STATE_READY,
        intent: pb.InstanceIntent = pb.INSTANCE_INTENT_DRAIN,
    ) -> pb.Instance:
        instance = pb.Instance(id="web-1", app="web", node="a", intent=intent)
        instance.status.state = state
        self.ledger.apply(PutInstance(instance))
        return instance

    def view(self, version: int, *offered: registry_pb2.Endpoint) -> None:
        service = registry_pb2.Service(name="web", endpoints=offered)
        before, self.seen = self.seen, node_pb2.ServiceView(service=service)
        self.withdrawn.viewed(version, [(before, self.seen)])

    def is_called(self) -> bool:
        instance = self.ledger.world.instances.get("web-1") or self.going()
        return self.withdrawn.is_called_elsewhere(instance)


def web(health: registry_pb2.EndpointHealth = READY, *, alone: bool = False):
    return registry_pb2.Endpoint(instance_id="web-1", node="a", health=health, local_only=alone)


@pytest.fixture
def three() -> Three:
    made = Three()
    made.view(5, web())
    return made


def test_what_stays_is_not_asked_about(three: Three) -> None:
    stays = pb.Instance(id="web-1", node="a", intent=pb.INSTANCE_INTENT_RUN)
    assert not three.withdrawn.is_called_elsewhere(stays)


def test_it_is_called_until_every_other_node_has_a_view_without_it(three: Three) -> None:
    three.going()
    assert three.is_called()
    three.view(6, web(DRAINING))
    assert three.is_called()
    three.withdrawn.taken("b", 6)
    three.withdrawn.taken("c", 5)
    assert three.is_called()
    assert three.again == []
    three.withdrawn.taken("c", 7)
    assert not three.is_called()
    assert three.again == ["a"]


def test_a_lost_node_is_not_waited_for(three: Three) -> None:
    three.going()
    three.view(6)
    three.withdrawn.taken("b", 6)
    three.node("c", lost=True)
    three.view(6)
    assert not three.is_called()
    assert three.again == ["a"]


def test_nor_is_an_agent_that_does_not_tell(three: Three) -> None:
    three.going()
    three.view(6)
    three.withdrawn.taken("b", 6)
    three.withdrawn.never_tells("c")
    assert not three.is_called()


def test_what_no_other_node_could_call_may_go_at_once() -> None:
    three = Three()
    three.view(5, web(alone=True))
    three.going()
    three.view(6)
    assert not three.is_called()


def test_what_is_gone_is_forgotten(three: Three) -> None:
    three.going()
    three.view(6)
    three.ledger.apply(RemoveInstance("web-1"))
    three.view(7)
    assert three.again == ["a"]


def test_after_a_restart_nodes_are_waited_for_as_before() -> None:
    three = Three()
    three.going(pb.INSTANCE_STATE_DRAINING)
    three.view(1 << 33)
    assert three.is_called()
    for name in "abc":
        three.withdrawn.taken(name, 1 << 33)
    assert not three.is_called()


def test_what_goes_as_its_node_comes_back_after_a_restart_is_in_the_views_of_before() -> None:
    three = Three()
    three.going(intent=pb.INSTANCE_INTENT_RUN)
    three.view(1 << 33)
    three.going()
    three.view((1 << 33) + 1, web(DRAINING))
    assert three.is_called()
    for name in "bc":
        three.withdrawn.taken(name, (1 << 33) + 1)
    assert not three.is_called()


def test_what_stays_after_a_restart_is_waited_for_once_it_goes() -> None:
    three = Three()
    three.going(intent=pb.INSTANCE_INTENT_RUN)
    three.view(1 << 33)
    three.view((1 << 33) + 1, web())
    for name in "bc":
        three.withdrawn.taken(name, (1 << 33) + 1)
    three.going()
    assert three.is_called()
    three.view((1 << 33) + 2, web(DRAINING))
    assert three.is_called()
    for name in "bc":
        three.withdrawn.taken(name, (1 << 33) + 2)
    assert not three.is_called()
