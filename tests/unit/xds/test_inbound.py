"""What other nodes' calls meet on this node's address."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from callmesh_agent.xds import descriptors
from callmesh_agent.xds.http import UNSENT
from callmesh_agent.xds.packing import Resource
from callmesh_agent.xds.snapshot import Ingress, LocalInstance, LocalTruth, compile_snapshot

if TYPE_CHECKING:
    from conftest import World

INGRESS = Ingress("127.0.0.1", 7480, "/run/web.sock")

ONE = LocalInstance("127.0.0.1", 9000, ready=True, inbound_port=30001, mesh_name="shop", open=True)
NAME = "inbound/shop-1-one"


def made(world: World, instance: LocalInstance, previous: Any = None, address: str = "10.0.0.2"):
    local = LocalTruth("here", "a", {"shop-1-one": instance}, address)
    return compile_snapshot(world.view, local, INGRESS, 1, previous)


def as_dict(item: Resource) -> dict[str, Any]:
    return descriptors.as_dict(descriptors.message_class(item.kind).FromString(item.value))


def own_host(snapshot: Any) -> dict[str, Any]:
    hosts = as_dict(snapshot.envoy.routes[NAME])["virtual_hosts"]
    return next(each for each in hosts if each["name"] == NAME)


def test_a_node_without_an_address_has_none(world: World) -> None:
    assert NAME not in made(world, ONE, address="").envoy.listeners


def test_an_instance_without_a_port_has_none(world: World) -> None:
    assert NAME not in made(world, replace(ONE, inbound_port=0)).envoy.listeners


def test_a_ready_instance_is_called_on_the_nodes_address(world: World) -> None:
    snapshot = made(world, ONE)
    assert snapshot.envoy.listeners[NAME].binds == "10.0.0.2:30001"
    [route] = own_host(snapshot)["routes"]
    assert route["route"]["cluster"] == NAME
    assert UNSENT in route["response_headers_to_remove"]


def test_one_that_takes_no_calls_says_so_in_a_way_that_lets_callers_repeat(world: World) -> None:
    before = made(world, ONE)
    after = made(world, replace(ONE, ready=False, open=False), before)
    [route] = own_host(after)["routes"]
    assert route["direct_response"]["status"] == 503
    assert route["response_headers_to_add"][0]["header"]["key"] == UNSENT
    # Calls in flight go on: nothing that they run through has changed.
    assert after.envoy.listeners[NAME].value == before.envoy.listeners[NAME].value
    assert after.envoy.clusters[NAME].value == before.envoy.clusters[NAME].value


def test_a_grpc_instance_that_leaves_takes_calls_for_as_long_as_they_come(world: World) -> None:
    before = made(world, replace(ONE, speaks_grpc=True))
    after = made(world, replace(ONE, speaks_grpc=True, ready=False, open=False), before)
    assert own_host(after)["routes"][0]["route"]["cluster"] == NAME
    idle = as_dict(after.envoy.clusters[NAME])["typed_extension_protocol_options"]
    assert "'idle_timeout': '1.500s'" in str(idle)


def test_it_may_be_open_to_others_for_longer_than_to_its_own_node(world: World) -> None:
    before = made(world, ONE)
    after = made(world, replace(ONE, ready=False), before)
    assert after.envoy.routes[NAME].value == before.envoy.routes[NAME].value


def test_it_answers_to_the_apps_names_and_no_others(world: World) -> None:
    world.add("shop", custom_domain="shop.example.com")
    snapshot = made(world, ONE)
    domains = own_host(snapshot)["domains"]
    assert {"shop", "shop.example.com", "10.0.0.2"} <= set(domains)
    assert "*" not in domains


def test_what_did_not_change_is_the_same_object(world: World) -> None:
    first = made(world, ONE)
    assert made(world, ONE, first).inbound[NAME] is first.inbound[NAME]
