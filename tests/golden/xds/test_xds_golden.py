"""What callers are told about typical services, as Envoy documents its messages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration

from callmesh_agent import envoy
from callmesh_agent.xds import descriptors
from callmesh_agent.xds.snapshot import (
    Ingress,
    LocalInstance,
    LocalTruth,
    ResourceSet,
    compile_snapshot,
)
from callmeshpb.v1 import common_pb2, node_pb2, registry_pb2

READY = registry_pb2.ENDPOINT_HEALTH_READY
DRAINING = registry_pb2.ENDPOINT_HEALTH_DRAINING
INGRESS = Ingress("127.0.0.1", 7480, "/run/callmesh/web.sock")
LOCAL = LocalTruth("here", "a", {"one": LocalInstance("127.0.0.1", 40001, ready=True)})

Golden = Callable[[str, Any], None]


def endpoint(
    name: str, node: str, zone: str, address: str, health: registry_pb2.EndpointHealth = READY
) -> registry_pb2.Endpoint:
    return registry_pb2.Endpoint(
        instance_id=name, node=node, zone=zone, address=address, port=9000, health=health
    )


EVERYWHERE = [
    endpoint("one", "here", "a", "10.0.0.1"),
    endpoint("two", "there", "a", "10.0.0.2"),
    endpoint("far", "far", "b", "10.0.1.1"),
    endpoint("leaving", "there", "a", "10.0.0.3", DRAINING),
]


def service(name: str, **fields: Any) -> registry_pb2.Service:
    defaults = {
        "project": "default",
        "domain": "development",
        "name": name,
        "mesh_name": name,
        "mesh_port": 20001,
        "protocol": common_pb2.PROTOCOL_HTTP,
    }
    return registry_pb2.Service(**{**defaults, **fields})


SCENARIOS = {
    "plain": node_pb2.ServiceView(service=service("shop", endpoints=EVERYWHERE)),
    "empty": node_pb2.ServiceView(
        service=service(
            "shop", mesh_name="shop--production--acme", domain="production", project="acme"
        )
    ),
    "declared": node_pb2.ServiceView(
        service=service("shop", endpoints=EVERYWHERE),
        timeouts={"request": Duration(seconds=30)},
        cookie_affinity=True,
        prefer_local=True,
        custom_domain="shop.example.com",
    ),
    "grpc": node_pb2.ServiceView(
        service=service("greet", protocol=common_pb2.PROTOCOL_GRPC, endpoints=EVERYWHERE),
        timeouts={"request": Duration(seconds=30)},
    ),
}


def as_json(resources: ResourceSet) -> dict[str, Any]:
    found = {}
    for kind in descriptors.KINDS:
        for name, item in sorted(resources.of(kind).items()):
            message = descriptors.message_class(kind).FromString(item.value)
            found[f"{kind.rpartition('.')[2]} {name}"] = descriptors.as_dict(message)
    return found


@pytest.mark.parametrize("name", SCENARIOS)
def test_resources_of_a_service(name: str, golden: Golden) -> None:
    view = node_pb2.MeshView(version=1, services=[SCENARIOS[name]])
    snapshot = compile_snapshot(view, LOCAL, INGRESS, 1)
    resources = as_json(snapshot.envoy)
    if name != "plain":
        # The same in every snapshot: reviewed once.
        for same in ("Listener callmesh/ingress", "Cluster callmesh/pages"):
            del resources[same]
    golden(f"{name}.json", {"envoy": resources, "grpc": as_json(snapshot.grpc)})


def test_bootstrap(golden: Golden) -> None:
    identity = envoy.EnvoyIdentity("here", "a", "/run/ads.sock", "/run/envoy-admin.sock")
    value = envoy.bootstrap(identity)
    descriptors.build(descriptors.BOOTSTRAP, value)
    golden("bootstrap.json", value)
