"""One xDS resource: its packed message, and what it needs of others.

`needs` and `binds` are read off the message itself when it is packed, so that
the consistency check of a snapshot judges what is really sent.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from google.protobuf.message import Message

from callmesh_agent.xds import descriptors
from callmesh_agent.xds.descriptors import ANY, CLUSTER, ENDPOINTS, LISTENER, MANAGER, ROUTES


@dataclass(frozen=True, slots=True)
class Resource:
    """A named message of one of the four types, ready to be sent."""

    # Full name of the message.
    kind: str
    name: str
    # Equal bytes are the same resource.
    value: bytes
    # The same as google.protobuf.Any of the private pool.
    packed: Any = field(compare=False, repr=False)
    # (kind, name) of every resource that must be there for this one to work.
    needs: frozenset[tuple[str, str]] = field(compare=False, repr=False)
    # "address:port" of a listener that opens one.
    binds: str = ""


def resource(name: str, message: Message) -> Resource:
    """Pack a message as the resource called ``name``."""
    packed = descriptors.message_class(ANY)()
    packed.Pack(message, deterministic=True)
    kind = message.DESCRIPTOR.full_name
    needs, binds = _NEEDS[kind](message)
    return Resource(kind, name, packed.value, packed, frozenset(needs), binds)


def _of_cluster(message: Any) -> tuple[set[tuple[str, str]], str]:
    if not message.HasField("eds_cluster_config"):
        return set(), ""
    return {(ENDPOINTS, message.eds_cluster_config.service_name or message.name)}, ""


def _of_endpoints(message: Any) -> tuple[set[tuple[str, str]], str]:
    return {(CLUSTER, message.cluster_name)}, ""


def _of_routes(message: Any) -> tuple[set[tuple[str, str]], str]:
    return {
        (CLUSTER, route.route.cluster)
        for host in message.virtual_hosts
        for route in host.routes
        if route.HasField("route")
    }, ""


def _of_listener(message: Any) -> tuple[set[tuple[str, str]], str]:
    needs: set[tuple[str, str]] = set()
    packed = [message.api_listener.api_listener] if message.HasField("api_listener") else []
    packed += [f.typed_config for chain in message.filter_chains for f in chain.filters]
    for item in packed:
        manager = descriptors.message_class(MANAGER)()
        if not item.Unpack(manager):
            continue
        if manager.HasField("rds"):
            needs.add((ROUTES, manager.rds.route_config_name))
        elif manager.HasField("route_config"):
            needs |= _of_routes(manager.route_config)[0]
    socket = message.address.socket_address
    return needs, f"{socket.address}:{socket.port_value}" if socket.port_value else ""


_NEEDS = {
    CLUSTER: _of_cluster,
    ENDPOINTS: _of_endpoints,
    LISTENER: _of_listener,
    ROUTES: _of_routes,
}
