"""One service → the Envoy and gRPC messages that make it callable.

Pure. A service has one name everywhere: its mesh name is the name of its
listener, route configuration, cluster and endpoints. Names of the mesh's own
resources hold a `/`, which no mesh name does.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from functools import cache
from typing import Any

from callmesh_agent.xds import descriptors
from callmesh_agent.xds.descriptors import (
    CLUSTER,
    ENDPOINTS,
    LISTENER,
    MANAGER,
    ROUTES,
    TYPE_PREFIX,
    VIRTUAL_HOST,
)
from callmesh_agent.xds.http import connection_manager, misdirected, router
from callmesh_agent.xds.packing import Resource, resource
from callmesh_agent.xds.policy import (
    ELSEWHERE,
    LB,
    CallPolicy,
    cluster_policy,
    grpc_routes,
    http_routes,
    session_affinity,
)
from callmeshpb.v1 import common_pb2

ADS: dict[str, Any] = {"ads": {}, "resource_api_version": "V3"}
LOOPBACK_HOSTS = ["localhost", "*.localhost", "127.0.0.1", "[::1]"]
_MISDIRECTED = "this port answers to the names of this machine and of its app only\n"
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
    # On another node, while this one has an instance that takes calls.
    elsewhere: bool = False


class Door(Enum):
    """What a listener is for."""

    # Calls of this node's code, of browsers, of other nodes' Envoys.
    MESH = "mesh"
    INGRESS = "ingress"
    INBOUND = "inbound"


def listener(name: str, address: str, port: int, door: Door) -> Resource:
    """An HTTP listener of the node's Envoy whose routes come by RDS under its own name."""
    manager = descriptors.copy(_manager(door))
    manager.stat_prefix = name
    manager.rds.route_config_name = name
    message = descriptors.build(
        LISTENER,
        {
            "name": name,
            "address": {"socket_address": {"address": address, "port_value": port}},
            "traffic_direction": "OUTBOUND" if door is Door.MESH else "INBOUND",
            # Without a port of one's own, two meshes share it and split its callers.
            "enable_reuse_port": False,
            "filter_chains": [{"filters": [{"name": _MANAGER_FILTER}]}],
        },
    )
    message.filter_chains[0].filters[0].typed_config.Pack(manager, deterministic=True)
    return resource(name, message)


@cache
def _manager(door: Door) -> Any:
    manager = connection_manager(
        edge=door is Door.INGRESS, inbound=door is Door.INBOUND, config_source=ADS
    )
    return descriptors.build(MANAGER, manager)


def mesh_listener(mesh_name: str, mesh_port: int) -> Resource:
    """Where code on this node calls a service. Independent of its policy."""
    return listener(mesh_name, "127.0.0.1", mesh_port, Door.MESH)


def virtual_host(policy: CallPolicy) -> Any:
    """A service's virtual host message, under the names of this machine."""
    return descriptors.build(
        VIRTUAL_HOST,
        {
            "name": policy.mesh_name,
            "domains": LOOPBACK_HOSTS,
            "routes": http_routes(policy),
            "typed_per_filter_config": session_affinity(policy),
        },
    )


def mesh_routes(mesh_name: str, host: Any, names: Iterable[str]) -> Resource:
    """The routes behind a mesh port: this machine's names and the service's own ``names``.

    Any other is a web page's, whose name was made to point here.
    """
    message = descriptors.build(
        ROUTES,
        {
            "name": mesh_name,
            "ignore_port_in_host_matching": True,
            "virtual_hosts": [misdirected(_MISDIRECTED)],
        },
    )
    own = message.virtual_hosts.add()
    own.CopyFrom(host)
    own.domains.extend(each for each in dict.fromkeys(names) if each not in own.domains)
    # A cluster may arrive after its routes: those calls are answered with 503.
    message.validate_clusters.value = False
    return resource(mesh_name, message)


def cluster(mesh_name: str, protocol: common_pb2.Protocol) -> Resource:
    """A service's cluster, for Envoy and gRPC alike."""
    message = descriptors.copy(_cluster(protocol))
    message.name = mesh_name
    return resource(mesh_name, message)


@cache
def _cluster(protocol: common_pb2.Protocol) -> Any:
    eds = {"type": "EDS", "eds_cluster_config": {"eds_config": ADS}}
    return descriptors.build(CLUSTER, {**eds, **cluster_policy(protocol)})


def endpoints(mesh_name: str, targets: Iterable[Target]) -> Resource:
    """A service's instances. None of them: an empty assignment, which answers at once."""
    message = descriptors.message_class(ENDPOINTS)(cluster_name=mesh_name)
    group: tuple[int, str, str] | None = None
    locality: Any = None
    for target in sorted(targets):
        if group != (target.priority, target.zone, target.sub_zone):
            group = (target.priority, target.zone, target.sub_zone)
            locality = message.endpoints.add(priority=target.priority)
            locality.locality.zone = target.zone
            locality.locality.sub_zone = target.sub_zone
        place = locality.lb_endpoints.add()
        if target.elsewhere:
            place.metadata.filter_metadata[LB].fields[ELSEWHERE].bool_value = True
        socket = place.endpoint.address.socket_address
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
                        "@type": TYPE_PREFIX + MANAGER,
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
