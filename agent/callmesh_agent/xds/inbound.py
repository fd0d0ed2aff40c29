"""Where other nodes call this node's instances: one listener an instance, on the node's address.

A call that this node could not deliver, and that the app therefore has not
seen, is answered with the header `UNSENT`: the caller's Envoy repeats it on
another instance, whatever its method. That is so for an instance that does
not take calls (any more), from the moment at which this node says so.

gRPC's own clients repeat nothing. A gRPC instance that leaves takes calls from
other nodes until none has come for a while: they have the next view by then.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from callmesh_agent.xds import descriptors
from callmesh_agent.xds.descriptors import CLUSTER, ROUTES
from callmesh_agent.xds.http import UNSENT, direct, misdirected, route_metadata
from callmesh_agent.xds.packing import Resource, resource
from callmesh_agent.xds.policy import upstream_protocol
from callmesh_agent.xds.resources import LOOPBACK_HOSTS, Door, listener
from callmesh_agent.xds.targets import LocalInstance, LocalTruth

PREFIX = "inbound/"
# After so long without a call the connection to an instance closes: one that
# leaves then ends.
IDLE = "1.5s"
_MISDIRECTED = "this address answers to calls of the mesh only\n"


@dataclass(frozen=True, slots=True)
class Inbound:
    """One instance's resources, and what they were made of."""

    address: str
    instance: LocalInstance
    names: tuple[str, ...]
    listener: Resource
    routes: Resource
    cluster: Resource


def compile_inbound(
    local: LocalTruth,
    domains: Mapping[str, str],
    previous: Mapping[str, Inbound],
) -> dict[str, Inbound]:
    """Every instance of this node that others can call, by the name of its resources.

    ``domains`` are the custom domains of services by mesh name.
    """
    if not local.address:
        return {}
    made = {}
    for instance_id, instance in local.instances.items():
        if not instance.inbound_port:
            continue
        name = PREFIX + instance_id
        domain = domains.get(instance.mesh_name, "")
        names = (instance.mesh_name, *([domain] if domain else []))
        known = previous.get(name)
        if known and (known.address, known.instance, known.names) == (
            local.address, instance, names,
        ):  # fmt: skip
            made[name] = known
            continue
        made[name] = Inbound(
            address=local.address,
            instance=instance,
            names=names,
            listener=listener(name, local.address, instance.inbound_port, Door.INBOUND),
            routes=_routes(name, instance, (*names, local.address)),
            cluster=_cluster(name, instance),
        )
    return made


def _routes(name: str, instance: LocalInstance, names: Iterable[str]) -> Resource:
    refused = {
        **direct(503, f"this instance of app `{instance.mesh_name}` takes no new calls\n"),
        "response_headers_to_add": [{"header": {"key": UNSENT, "value": "true"}}],
    }
    return resource(
        name,
        descriptors.build(
            ROUTES,
            {
                "name": name,
                "ignore_port_in_host_matching": True,
                "validate_clusters": False,
                "virtual_hosts": [
                    misdirected(_MISDIRECTED),
                    {
                        "name": name,
                        "domains": list(dict.fromkeys((*LOOPBACK_HOSTS, *names))),
                        "routes": [
                            _forward(name, instance)
                            if instance.open or instance.speaks_grpc
                            else refused
                        ],
                    },
                ],
            },
        ),
    )


def _forward(name: str, instance: LocalInstance) -> dict[str, Any]:
    app = instance.mesh_name
    return {
        "match": {"prefix": "/"},
        "metadata": route_metadata(
            subject=f"app `{app}`",
            state=f"see `callmesh describe app {app}`",
            logs=f"see `callmesh logs app/{app}`",
        ),
        "response_headers_to_remove": [UNSENT],
        "route": {
            "cluster": name,
            # The caller's Envoy has the app's limit.
            "timeout": "0s",
            "retry_policy": {"retry_on": "reset-before-request", "num_retries": 1},
        },
    }


def _cluster(name: str, instance: LocalInstance) -> Resource:
    socket = {"address": instance.address, "port_value": instance.port}
    return resource(
        name,
        descriptors.build(
            CLUSTER,
            {
                "name": name,
                "type": "STATIC",
                **upstream_protocol(grpc=instance.speaks_grpc, idle_timeout=IDLE),
                "load_assignment": {
                    "cluster_name": name,
                    "endpoints": [
                        {"lb_endpoints": [{"endpoint": {"address": {"socket_address": socket}}}]}
                    ],
                },
            },
        ),
    )
