"""Where a service is called from this node, and in which order of choice.

Pure. The view says which instances exist; for its own, this node's word wins.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass

from callmesh_agent.xds.resources import Target
from callmeshpb.v1 import node_pb2, registry_pb2


@dataclass(frozen=True, slots=True)
class LocalInstance:
    """One of this node's instances, as its agent knows it now."""

    address: str
    port: int
    ready: bool
    # Where other nodes call it, on the node's address; 0: they cannot.
    inbound_port: int = 0
    mesh_name: str = ""
    speaks_grpc: bool = False
    # It takes calls of other nodes, for which it may be ready longer than for this one.
    open: bool = False


@dataclass(frozen=True, slots=True)
class LocalTruth:
    """What this node knows of itself. It wins over the view for its own instances."""

    node: str
    zone: str
    # By instance id. An endpoint of this node that is not in it is not called.
    instances: Mapping[str, LocalInstance]
    # Where other nodes call this one; empty: they cannot.
    address: str = ""


def targets(view: node_pb2.ServiceView, local: LocalTruth) -> tuple[list[Target], list[str]]:
    """Where the service is called from here, nearest first; and what was left out.

    An endpoint that is draining is left out rather than marked: with nothing
    but draining endpoints Envoy would call them all the same (panic mode).
    """
    notes = []
    placed = []
    for endpoint in view.service.endpoints:
        if endpoint.health != registry_pb2.ENDPOINT_HEALTH_READY:
            continue
        address, port = endpoint.address, endpoint.port
        own = endpoint.node == local.node
        if endpoint.local_only and not own:
            continue
        if own:
            instance = local.instances.get(endpoint.instance_id)
            if instance is None or not instance.ready:
                continue
            address, port = instance.address, instance.port
        if not _is_callable(address, port):
            notes.append(
                f"instance `{endpoint.instance_id}` of app `{view.service.mesh_name}` is at"
                f" `{address}:{port}`: must be an IP address and a port; it is not called"
            )
            continue
        zone = local.zone if own else endpoint.zone
        near = 0 if own and view.prefer_local else 1 if zone == local.zone else 2
        placed.append((near, zone, address, port, own))
    # Envoy wants priorities without gaps.
    order = {near: number for number, near in enumerate(sorted({p[0] for p in placed}))}
    has_own = any(own for *_, own in placed)
    return [
        Target(
            priority=order[near],
            zone=zone or "default",
            sub_zone=local.node if near == 0 else "",
            address=address,
            port=port,
            elsewhere=has_own and not own,
        )
        for near, zone, address, port, own in placed
    ], notes


def _is_callable(address: str, port: int) -> bool:
    try:
        ipaddress.ip_address(address)
    except ValueError:
        return False
    return 0 < port < 65536
