"""Which nodes may join, and what the others are told."""

from __future__ import annotations

from typing import Any

import pytest

from callmesh_server.core import joining, liveness
from callmesh_server.core.actions import PutNode
from callmesh_server.core.ledger import Ledger
from callmesh_server.core.times import stamp
from callmeshpb.v1.node_pb2 import NodeHello

NOW = 1_000_000.0


def hello(node: str = "a", **fields: Any) -> NodeHello:
    return NodeHello(node=node, **{"protocol_version": 1, "key": "its own", **fields})


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


def join(ledger: Ledger, said: NodeHello) -> None:
    for action in liveness.joined(ledger.world, said, NOW, 10.0):
        if isinstance(action, PutNode):
            ledger.apply(action)


def lose(ledger: Ledger, node: str) -> None:
    for action in liveness.reconcile(ledger.world, node, NOW + 60):
        if isinstance(action, PutNode):
            ledger.apply(action)


def refusal(ledger: Ledger, said: NodeHello) -> str:
    return joining.refusal(said, ledger.world, NOW)


def test_a_node_joins_and_comes_back(ledger: Ledger) -> None:
    said = hello(address="10.0.0.1")
    assert refusal(ledger, said) == ""
    join(ledger, said)
    assert refusal(ledger, said) == ""
    assert b"its own" not in ledger.world.nodes["a"].record.SerializeToString()


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"node": "Not_a_name"}, "Not_a_name"),
        ({"node": "a..b"}, "node name `a..b`"),
        ({"node": "n" * 254}, "at most 253"),
        ({"zone": "no zone"}, "zone `no zone`"),
        ({"labels": {"": "x"}}, "label key ``"),
        ({"labels": {"gpu": "a b"}}, "value of label `gpu`, `a b`"),
        ({"labels": {f"k{n}": "v" for n in range(65)}}, "has 65 labels"),
        ({"protocol_version": 7}, "speaks protocol 7"),
        ({"sent_at": stamp(NOW + 3600)}, "is 3600 s ahead of this server's"),
        ({"sent_at": stamp(NOW - 61)}, "is 61 s behind this server's"),
        ({"address": "node-a.example"}, "must be an IP address"),
        ({"address": "0.0.0.0"}, "nobody can call node `a`"),
        ({"address": "224.0.0.1"}, "nobody can call node `a`"),
        ({"address": "10.0.0.9"}, "node `other` has the address `10.0.0.9` already"),
    ],
)
def test_what_is_wrong_is_said(ledger: Ledger, fields: dict[str, Any], said: str) -> None:
    join(ledger, hello("other", address="10.0.0.9"))
    assert said in refusal(ledger, hello(**fields))


def test_a_node_may_be_called_as_in_kubernetes(ledger: Ledger) -> None:
    said = hello(
        "ip-10-0-0-1.eu-west-1.compute.internal",
        zone="eu-west-1a",
        labels={"node.kubernetes.io/instance-type": "m5.large", "spot": ""},
    )
    assert refusal(ledger, said) == ""


def test_clocks_may_differ_a_little(ledger: Ledger) -> None:
    assert refusal(ledger, hello(sent_at=stamp(NOW - 59))) == ""


def test_a_name_is_its_nodes_until_that_is_lost(ledger: Ledger) -> None:
    join(ledger, hello(address="10.0.0.1"))
    stranger = hello(key="another")
    assert "another machine at `10.0.0.1` is node `a`" in refusal(ledger, stranger)
    assert refusal(ledger, hello(key="")) != ""
    lose(ledger, "a")
    assert refusal(ledger, stranger) == ""


def test_an_address_is_free_again_when_its_node_is_lost(ledger: Ledger) -> None:
    join(ledger, hello("other", address="10.0.0.9"))
    lose(ledger, "other")
    assert refusal(ledger, hello(address="10.0.0.9")) == ""
