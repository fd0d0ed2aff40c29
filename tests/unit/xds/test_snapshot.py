"""Snapshots: what is compiled again, and what is refused."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf.duration_pb2 import Duration

from callmesh_agent.xds import descriptors
from callmesh_agent.xds.ingress import INGRESS
from callmesh_agent.xds.snapshot import (
    Inconsistent,
    Ingress,
    LocalInstance,
    ResourceSet,
    Snapshot,
    check,
    compile_snapshot,
)

if TYPE_CHECKING:
    from conftest import World

GRPC_AND_HTTP = {"greet": True, "shop": False}


def everything(snapshot: Snapshot) -> dict[tuple[str, str], Any]:
    return {
        (kind, name): item
        for kind in descriptors.KINDS
        for name, item in snapshot.envoy.of(kind).items()
    }


def changed(before: Snapshot, after: Snapshot) -> set[tuple[str, str]]:
    old, new = everything(before), everything(after)
    return {
        (kind.rpartition(".")[2], name)
        for kind, name in old.keys() | new.keys()
        if old.get((kind, name)) is not new.get((kind, name))
    }


def test_change_of_an_endpoint_changes_one_resource(world: World) -> None:
    world.add("shop", "one", "two")
    world.add("other", "three")
    before = world.compile()
    world.instances["one"] = LocalInstance("127.0.0.1", 1, ready=True)
    assert changed(before, world.compile()) == {("ClusterLoadAssignment", "shop")}


def test_change_of_policy_changes_routes_alone(world: World) -> None:
    world.add("shop", "one")
    before = world.compile()
    world.services["shop"].timeouts.request.CopyFrom(Duration(seconds=1))
    world.services["shop"].cookie_affinity = True
    assert changed(before, world.compile()) == {
        ("RouteConfiguration", "shop"),
        ("RouteConfiguration", INGRESS),
    }


def test_nothing_changed_gives_the_same_objects(world: World) -> None:
    for name, grpc in GRPC_AND_HTTP.items():
        world.add(name, f"{name}-1", grpc=grpc)
    before = world.compile()
    after = world.compile()
    assert changed(before, after) == set()
    assert (before.version, after.version) == (1, 2)


def test_what_was_compiled_before_does_not_show_in_the_result(
    new_world: Callable[[], World],
) -> None:
    grown, fresh = new_world(), new_world()
    grown.add("shop", "one", cookie_affinity=True, custom_domain="shop.example.com")
    grown.add("gone", "two")
    grown.compile()
    for world in (grown, fresh):
        world.services.clear()
        world.instances.clear()
        world.add("shop", "three", mesh_port=20009, prefer_local=True)
        world.add("greet", "four", grpc=True)
    first, second = grown.compile(), fresh.compile()
    assert everything(first) == everything(second)
    assert first.grpc == second.grpc


def test_view_is_not_changed_by_compiling(world: World) -> None:
    world.add("shop", "one", custom_domain="shop.example.com")
    view = world.view
    before = view.SerializeToString(deterministic=True)
    compile_snapshot(view, world.local, Ingress("127.0.0.1", 1, ""), 1)
    assert view.SerializeToString(deterministic=True) == before


def test_node_that_moves_is_compiled_anew(world: World) -> None:
    world.add("shop", "one")
    before = world.compile()
    world.zone = "b"
    assert changed(before, world.compile()) == {("ClusterLoadAssignment", "shop")}


def test_only_grpc_services_are_there_for_grpc_clients(world: World) -> None:
    for name, grpc in GRPC_AND_HTTP.items():
        world.add(name, grpc=grpc)
    snapshot = world.compile()
    assert set(snapshot.grpc.listeners) == {"greet"}
    assert set(snapshot.envoy.listeners) == {"greet", "shop", INGRESS}


def test_two_listeners_on_one_port_are_inconsistent(world: World) -> None:
    world.add("shop", mesh_port=20001)
    world.add("other", mesh_port=20001)
    world.add("edge", mesh_port=7480)
    with pytest.raises(Inconsistent) as wrong:
        world.compile()
    assert wrong.value.problems == [
        "listeners `shop` and `other` both want 127.0.0.1:20001",
        "listeners `edge` and `callmesh/ingress` both want 127.0.0.1:7480",
    ]


def test_all_mistakes_of_a_view_are_told_at_once(world: World) -> None:
    world.add("shop", mesh_port=0)
    world.add("Shop")
    with pytest.raises(Inconsistent) as wrong:
        world.compile()
    assert len(wrong.value.problems) == 2
    assert "mesh port 0" in str(wrong.value)


def test_service_that_is_listed_twice_is_inconsistent(world: World) -> None:
    view = world.add("shop")
    twice = world.view
    twice.services.append(view)
    with pytest.raises(Inconsistent, match="twice"):
        compile_snapshot(twice, world.local, Ingress("127.0.0.1", 1, ""), 1)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("clusters", "ClusterLoadAssignment `shop` needs Cluster `shop`, which is not there"),
        ("endpoints", "Cluster `shop` needs ClusterLoadAssignment `shop`, which is not there"),
        ("routes", "Listener `shop` needs RouteConfiguration `shop`, which is not there"),
    ],
)
def test_set_in_which_something_is_missing_is_inconsistent(
    world: World, kind: str, said: str
) -> None:
    world.add("shop", "one")
    whole = world.compile().envoy
    kinds = {name: getattr(whole, name) for name in ResourceSet.__dataclass_fields__}
    kinds[kind] = {name: item for name, item in kinds[kind].items() if name != "shop"}
    with pytest.raises(Inconsistent) as wrong:
        check(ResourceSet(**kinds))
    assert said in wrong.value.problems


def hosts(snapshot: Snapshot) -> dict[str, list[str]]:
    kind = descriptors.message_class(descriptors.ROUTES)
    table = kind.FromString(snapshot.envoy.routes[INGRESS].value)
    return {host.name: list(host.domains) for host in table.virtual_hosts}


def test_custom_domain_that_two_apps_want_goes_to_the_first_by_name(world: World) -> None:
    world.add("b", custom_domain="shop.example.com")
    world.add("a", custom_domain="shop.example.com")
    snapshot = world.compile()
    assert hosts(snapshot)["a"] == ["a.localhost", "shop.example.com"]
    assert hosts(snapshot)["b"] == ["b.localhost"]
    assert [n for n in snapshot.notes if "`shop.example.com` of app `b` leads to app `a`" in n]


def test_a_subdomain_is_served_unless_it_is_an_apps_own_name(world: World) -> None:
    world.add("b", custom_domain="a.localhost")
    world.add("a", custom_domain="front.localhost")
    world.add("c", custom_domain="c.localhost")
    snapshot = world.compile()
    assert hosts(snapshot)["a"] == ["a.localhost", "front.localhost"]
    assert hosts(snapshot)["b"] == ["b.localhost"]
    assert hosts(snapshot)["c"] == ["c.localhost"]


@pytest.mark.parametrize(
    "domain", ["*", "shop", "a.b.localhost", "127.0.0.1", "Shop.example.com", "a b.c", "x.y:80"]
)
def test_custom_domain_that_envoy_or_a_browser_would_misread_is_left_out(
    world: World, domain: str
) -> None:
    world.add("shop", custom_domain=domain)
    snapshot = world.compile()
    assert hosts(snapshot)["shop"] == ["shop.localhost"]
    assert f"custom domain `{domain}` must be" in snapshot.notes[0]


def test_ingress_without_pages_answers_by_itself(world: World) -> None:
    snapshot = world.compile(Ingress("127.0.0.1", 7480, ""))
    assert snapshot.envoy.clusters == {}


PRINT_DIGEST = """
import hashlib
from callmesh_agent.xds.snapshot import *
from callmeshpb.v1 import node_pb2, registry_pb2
service = registry_pb2.Service(name="shop", mesh_name="shop", mesh_port=20001, protocol=2)
view = node_pb2.MeshView(services=[node_pb2.ServiceView(service=service, cookie_affinity=True)])
made = compile_snapshot(view, LocalTruth("n", "z", {}), Ingress("127.0.0.1", 7480, "/w"), 1)
kinds = [k for s in (made.envoy, made.grpc) for k in (s.clusters, s.listeners, s.routes)]
print(hashlib.sha256(b"".join(r.value for kind in kinds for r in kind.values())).hexdigest())
"""


def test_agent_that_starts_again_makes_the_same_bytes() -> None:
    # Otherwise Envoy would take every listener for a changed one, and cut its connections.
    digests = {
        subprocess.run(
            [sys.executable, "-c", PRINT_DIGEST],
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(digests) == 1
