"""Which instances a node calls, and in which order of choice."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from callmesh_agent.xds.resources import Target
from callmesh_agent.xds.snapshot import LocalInstance
from callmesh_agent.xds.targets import targets
from callmeshpb.v1 import registry_pb2

if TYPE_CHECKING:
    from conftest import World


def placed(world: World, name: str = "shop") -> list[Target]:
    return targets(world.services[name], world.local)[0]


def test_own_instances_are_called_on_loopback(world: World) -> None:
    world.add("shop", "one")
    port = world.instances["one"].port
    assert placed(world) == [Target(0, "a", "", "127.0.0.1", port)]


def test_own_instance_that_this_node_does_not_have_is_not_called(world: World) -> None:
    world.add("shop", "one")
    world.instances.clear()
    assert placed(world) == []


def test_own_instance_that_is_not_ready_is_not_called(world: World) -> None:
    world.add("shop", "one")
    world.instances["one"] = LocalInstance("127.0.0.1", 1, ready=False)
    assert placed(world) == []


def test_instance_that_the_view_does_not_list_is_not_called(world: World) -> None:
    world.add("shop")
    world.instances["new"] = LocalInstance("127.0.0.1", 1, ready=True)
    assert placed(world) == []


def test_draining_endpoint_takes_no_calls(world: World) -> None:
    world.add("shop", "one")
    world.services["shop"].service.endpoints[0].health = registry_pb2.ENDPOINT_HEALTH_DRAINING
    assert placed(world) == []


def test_other_zones_come_after_this_one(world: World) -> None:
    world.add("shop", "one")
    world.endpoint("shop", "near", node="n2", address="10.0.0.2")
    world.endpoint("shop", "far", node="n3", zone="b", address="10.0.1.1")
    assert [(t.priority, t.zone, t.sub_zone) for t in placed(world)] == [
        (0, "a", ""),
        (0, "a", ""),
        (1, "b", ""),
    ]


def test_prefer_local_puts_this_node_first(world: World) -> None:
    world.add("shop", "one", prefer_local=True)
    world.endpoint("shop", "near", node="n2", address="10.0.0.2")
    world.endpoint("shop", "far", node="n3", zone="b", address="10.0.1.1")
    assert [(t.priority, t.sub_zone) for t in placed(world)] == [(0, "here"), (1, ""), (2, "")]


@pytest.mark.parametrize("zone", ["b", ""])
def test_priorities_have_no_gaps(world: World, zone: str) -> None:
    world.add("shop", prefer_local=True)
    world.endpoint("shop", "far", node="n3", zone=zone, address="10.0.1.1")
    assert [(t.priority, t.zone) for t in placed(world)] == [(0, zone or "default")]


def test_endpoint_without_an_address_is_left_out_and_said_so(world: World) -> None:
    world.add("shop", "one")
    world.endpoint("shop", "odd", node="n2", address="shop.example.com")
    found, notes = targets(world.services["shop"], world.local)
    assert len(found) == 1
    [note] = notes
    assert note.startswith("instance `odd` of app `shop` is at `shop.example.com:9000`: must be")


def test_others_are_marked_while_this_node_has_an_instance_that_takes_calls(world: World) -> None:
    view = world.add("shop", "one")
    world.endpoint("shop", "two", node="there", address="10.0.0.2")
    assert [each.elsewhere for each in targets(view, world.local)[0]] == [False, True]
    world.instances["one"] = LocalInstance("127.0.0.1", 1, ready=False)
    assert [each.elsewhere for each in targets(view, world.local)[0]] == [False]
