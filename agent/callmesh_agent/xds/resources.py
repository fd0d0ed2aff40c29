"""One service → the Envoy and gRPC messages that make it callable.

Pure. A service has one name everywhere: its mesh name is the name of its
listener, route configuration, cluster and endpoints. Names of the mesh's own
resources hold a `/`, which no mesh name does.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

from callmesh_agent.xds import descriptors
from callmesh_agent.xds.descriptors import CLUSTER, ENDPOINTS, LISTENER, ROUTES
from callmesh_agent.xds.http import connection_manager, router
from callmesh_agent.xds.policy import (
    CallPolicy,
    cluster_policy,
    grpc_routes,
    http_routes,
    session_affinity,
)
from callmesh_agent.xds.resource import Resource, resource
from callmeshpb.v1 import common_pb2

ADS: dict[str, Any] = {"ads": {}, "resource_api_version": "V3"}
_MANAGER_FILTER = "envoy.filters.network.http_connection_manager"


@dataclass(frozen=True, slots=True, order=True)
class Target:
    """Where one instance is called from this node, and in which order of choice."""

    # 0 is tried first; the next number only when too few of it are up.
    priority: int
    zone: str
    # Part of a zone that is a choice of its own: this node, or "".
    sub_zone: str
    address: str
    port: int


def listener(name: str, address: str, port: int, *, edge: bool) -> Resource:
    """An HTTP listener of the node's Envoy whose routes come by RDS under its own name."""
    manager = connection_manager(
        name, edge=edge, route_source={"rds": {"config_source": ADS, "route_config_name": name}}
    )
    return resource(
        name,
        descriptors.build(
            LISTENER,
            {
                "name": name,
                "address": {"socket_address": {"address": address, "port_value": port}},
                "traffic_direction": "INBOUND" if edge else "OUTBOUND",
                # Without a port of one's own, two meshes share it and split its callers.
                "enable_reuse_port": False,
                "filter_chains": [
                    {"filters": [{"name": _MANAGER_FILTER, "typed_config": manager}]}
                ],
            },
        ),
    )


@cache
def mesh_listener(mesh_name: str, mesh_port: int) -> Resource:
    """Where code on this node calls a service. Independent of its policy."""
    return listener(mesh_name, "127.0.0.1", mesh_port, edge=False)


def mesh_routes(policy: CallPolicy) -> Resource:
    """The routes behind a mesh port: every host name leads to the service."""
    return resource(
        policy.mesh_name,
        descriptors.build(
            ROUTES,
            {
                "name": policy.mesh_name,
                "virtual_hosts": [virtual_host(policy, ["*"])],
                "validate_clusters": False,
            },
        ),
    )


def virtual_host(policy: CallPolicy, domains: list[str]) -> dict[str, Any]:
    """A service under some host names."""
    host = {"name": policy.mesh_name, "domains": domains, "routes": http_routes(policy)}
    affinity = session_affinity(policy)
    return {**host, "typed_per_filter_config": affinity} if affinity else host


def cluster(mesh_name: str, protocol: common_pb2.Protocol) -> Resource:
    """A service's cluster, for Envoy and gRPC alike."""
    return resource(
        mesh_name,
        descriptors.build(
            CLUSTER,
            {
                "name": mesh_name,
                "type": "EDS",
                "eds_cluster_config": {"eds_config": ADS},
                **cluster_policy(protocol),
            },
        ),
    )


def endpoints(mesh_name: str, targets: Iterable[Target]) -> Resource:
    """A service's instances. None of them: an empty assignment, which answers at once."""
    message: Any = descriptors.message_class(ENDPOINTS)(cluster_name=mesh_name)
    group: tuple[int, str, str] | None = None
    locality: Any = None
    for target in sorted(targets):
        if group != (target.priority, target.zone, target.sub_zone):
            group = (target.priority, target.zone, target.sub_zone)
            locality = message.endpoints.add(priority=target.priority)
            locality.locality.zone = target.zone
            locality.locality.sub_zone = target.sub_zone
        socket = locality.lb_endpoints.add().endpoint.address.socket_address
        socket.address = target.address
        socket.port_value = target.port
        # gRPC ignores a locality without a weight.
        locality.load_balancing_weight.value += 1
    return resource(mesh_name, message)


def grpc_listener(policy: CallPolicy) -> Resource:
    """What `xds:///<mesh name>` asks for, with its routes inside."""
    name = policy.mesh_name
    return resource(
        name,
        descriptors.build(
            LISTENER,
            {
                "name": name,
                "api_listener": {
                    "api_listener": {
                        "@type": "type.googleapis.com/envoy.extensions.filters.network"
                        ".http_connection_manager.v3.HttpConnectionManager",
                        "stat_prefix": name,
                        "http_filters": [router()],
                        "route_config": {
                            "name": name,
                            "virtual_hosts": [
                                {"name": name, "domains": ["*"], "routes": grpc_routes(policy)}
                            ],
                        },
                    }
                },
            },
        ),
    )
