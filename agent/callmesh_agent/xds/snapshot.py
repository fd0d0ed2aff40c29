"""The mesh view and this node's own truth → one consistent set of resources.

Pure. A service is compiled again only when something that it is made of
changed: pass the snapshot before as ``previous``, and whatever did not change
is the very same object in both. What a snapshot holds was checked: every
resource that another one names is there, and no two listeners want one port.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from callmesh_agent.xds import resources
from callmesh_agent.xds.descriptors import CLUSTER, ENDPOINTS, LISTENER, ROUTES
from callmesh_agent.xds.ingress import (
    INGRESS,
    PAGES,
    Ingress,
    app_host,
    domain_problem,
    ingress_listener,
    ingress_routes,
    pages_cluster,
)
from callmesh_agent.xds.policy import CallPolicy, gaps
from callmesh_agent.xds.resource import Resource
from callmesh_agent.xds.resources import Target
from callmesh_wire.names import AppName, NameProblem
from callmeshpb.v1 import common_pb2, node_pb2, registry_pb2

__all__ = ["Inconsistent", "Ingress", "LocalInstance", "LocalTruth", "Snapshot", "compile_snapshot"]


class Inconsistent(ValueError):
    """The view cannot be served as it is. ``problems`` are sentences, all at once."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class LocalInstance:
    """One of this node's instances, as its agent knows it now."""

    address: str
    port: int
    ready: bool


@dataclass(frozen=True, slots=True)
class LocalTruth:
    """What this node knows of itself. It wins over the view for its own instances."""

    node: str
    zone: str
    # By instance id. An endpoint of this node that is not in it is not called.
    instances: Mapping[str, LocalInstance]


@dataclass(frozen=True, slots=True)
class ResourceSet:
    """Everything that one kind of client may ask for, by type and name."""

    clusters: Mapping[str, Resource]
    endpoints: Mapping[str, Resource]
    listeners: Mapping[str, Resource]
    routes: Mapping[str, Resource]

    def of(self, kind: str) -> Mapping[str, Resource]:
        """The resources of a type, by its message name."""
        return {
            CLUSTER: self.clusters,
            ENDPOINTS: self.endpoints,
            LISTENER: self.listeners,
            ROUTES: self.routes,
        }[kind]


@dataclass(frozen=True, slots=True)
class CompiledService:
    """One service's resources, and what they were made of."""

    # The serialized ServiceView.
    view: bytes
    node: str
    zone: str
    # Own instances that the view mentions, and what this node said of them.
    local_ids: tuple[str, ...]
    local: tuple[LocalInstance | None, ...]
    policy: CallPolicy
    custom_domain: str
    cluster: Resource
    endpoints: Resource
    listener: Resource
    routes: Resource
    # Only for what speaks gRPC.
    grpc_listener: Resource | None
    # The virtual host at the ingress.
    host: Any = field(compare=False, repr=False)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A consistent set of resources. Values: never changed once made."""

    version: int
    envoy: ResourceSet
    grpc: ResourceSet
    services: Mapping[str, CompiledService]
    # What was left out and why, in sentences for a person.
    notes: tuple[str, ...]
    # What the ingress was made of.
    ingress: Ingress
    ingress_hosts: tuple[tuple[CallPolicy, str], ...] = field(repr=False)


def compile_snapshot(
    view: node_pb2.MeshView,
    local: LocalTruth,
    ingress: Ingress,
    version: int,
    previous: Snapshot | None = None,
) -> Snapshot:
    """The snapshot of a view. Neither argument is changed.

    Raises `Inconsistent` with everything that is wrong. ``previous`` only
    saves work: the result is the same without it.
    """
    known = previous.services if previous else {}
    services = {}
    problems = []
    for item in view.services:
        name = item.service.mesh_name
        if name in services:
            problems.append(f"service `{name}` is in the view twice")
            continue
        try:
            services[name] = _compiled(item, local, known.get(name))
        except Inconsistent as wrong:
            problems += wrong.problems
    if problems:
        raise Inconsistent(problems)
    hosts, notes = _hosts(services.values())
    envoy = _for_envoy(services, ingress, hosts, previous)
    grpc = _for_grpc(services)
    check(envoy)
    check(grpc)
    return Snapshot(
        version=version,
        envoy=envoy,
        grpc=grpc,
        services=MappingProxyType(services),
        notes=tuple(note for s in services.values() for note in s.notes) + notes,
        ingress=ingress,
        ingress_hosts=hosts,
    )


def check(resources_: ResourceSet) -> None:
    """Raise `Inconsistent` unless the set can be served whole."""
    problems = []
    ports: dict[str, str] = {}
    kinds = (CLUSTER, ENDPOINTS, LISTENER, ROUTES)
    for kind in kinds:
        for name, item in resources_.of(kind).items():
            problems += [
                f"{kind.rpartition('.')[2]} `{name}` needs"
                f" {needed.rpartition('.')[2]} `{other}`, which is not there"
                for needed, other in item.needs
                if other not in resources_.of(needed)
            ]
            if not item.binds:
                continue
            if item.binds in ports:
                problems.append(
                    f"listeners `{ports[item.binds]}` and `{name}` both want {item.binds}"
                )
            ports[item.binds] = name
    if problems:
        raise Inconsistent(problems)


def _compiled(
    view: node_pb2.ServiceView, local: LocalTruth, known: CompiledService | None
) -> CompiledService:
    content = view.SerializeToString(deterministic=True)
    if known and known.view == content and (known.node, known.zone) == (local.node, local.zone):
        if known.local == tuple(map(local.instances.get, known.local_ids)):
            return known
    _check_service(view.service)
    service = view.service
    name = service.mesh_name
    local_ids = tuple(e.instance_id for e in service.endpoints if e.node == local.node)
    targets, notes = _targets(view, local)
    policy = CallPolicy.of(view)
    problem = domain_problem(view.custom_domain) if view.custom_domain else ""
    custom_domain = "" if problem else view.custom_domain
    if problem:
        notes.append(f"{problem}; app `{name}` answers at `{name}.localhost` only")
    keep = known if known and known.policy == policy else None
    same_host = keep and keep.custom_domain == custom_domain
    is_grpc = service.protocol == common_pb2.PROTOCOL_GRPC
    return CompiledService(
        view=content,
        node=local.node,
        zone=local.zone,
        local_ids=local_ids,
        local=tuple(map(local.instances.get, local_ids)),
        policy=policy,
        custom_domain=custom_domain,
        cluster=_same(known and known.cluster, resources.cluster(name, service.protocol)),
        endpoints=_same(known and known.endpoints, resources.endpoints(name, targets)),
        listener=resources.mesh_listener(name, service.mesh_port),
        routes=keep.routes if keep else resources.mesh_routes(policy),
        grpc_listener=resources.grpc_listener(policy) if is_grpc else None,
        host=keep.host if keep and same_host else app_host(policy, custom_domain),
        notes=tuple(notes + gaps(view)),
    )


def _same(old: Resource | None, new: Resource) -> Resource:
    return old if old == new and old is not None else new


def _check_service(service: registry_pb2.Service) -> None:
    try:
        AppName.from_mesh_name(service.mesh_name)
    except NameProblem as wrong:
        raise Inconsistent([str(wrong)]) from None
    if not 0 < service.mesh_port < 65536:
        raise Inconsistent(
            [f"service `{service.mesh_name}` has mesh port {service.mesh_port}: must be 1 to 65535"]
        )


def _targets(view: node_pb2.ServiceView, local: LocalTruth) -> tuple[list[Target], list[str]]:
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
        placed.append((near, zone, address, port))
    # Envoy wants priorities without gaps.
    order = {near: number for number, near in enumerate(sorted({p[0] for p in placed}))}
    return [
        Target(
            priority=order[near],
            zone=zone or "default",
            sub_zone=local.node if near == 0 else "",
            address=address,
            port=port,
        )
        for near, zone, address, port in placed
    ], notes


def _is_callable(address: str, port: int) -> bool:
    try:
        ipaddress.ip_address(address)
    except ValueError:
        return False
    return 0 < port < 65536


def _hosts(
    services: Iterable[CompiledService],
) -> tuple[tuple[tuple[CallPolicy, str], ...], tuple[str, ...]]:
    """Which host names each service gets at the ingress, and who lost a quarrel.

    Envoy refuses a table with a domain in it twice: the first by name has it.
    """
    taken: dict[str, str] = {}
    hosts = []
    notes = []
    for service in sorted(services, key=lambda s: s.policy.mesh_name):
        name, domain = service.policy.mesh_name, service.custom_domain
        if domain in taken:
            notes.append(
                f"custom domain `{domain}` of app `{name}` leads to app `{taken[domain]}`,"
                " which has it too: give one of them another"
            )
            domain = ""
        elif domain:
            taken[domain] = name
        hosts.append((service.policy, domain))
    return tuple(hosts), tuple(notes)


def _for_envoy(
    services: Mapping[str, CompiledService],
    ingress: Ingress,
    hosts: tuple[tuple[CallPolicy, str], ...],
    previous: Snapshot | None,
) -> ResourceSet:
    before = previous if previous and previous.ingress == ingress else None
    if before and before.ingress_hosts == hosts:
        table = before.envoy.routes[INGRESS]
    else:
        table = ingress_routes(
            ingress,
            [
                services[policy.mesh_name].host
                if services[policy.mesh_name].custom_domain == domain
                else app_host(policy, domain)
                for policy, domain in hosts
            ],
        )
    clusters = {name: s.cluster for name, s in services.items()}
    if ingress.pages_socket:
        clusters[PAGES] = (
            before.envoy.clusters[PAGES] if before else pages_cluster(ingress)
        )
    return ResourceSet(
        clusters=MappingProxyType(clusters),
        endpoints=MappingProxyType({name: s.endpoints for name, s in services.items()}),
        listeners=MappingProxyType(
            {
                **{name: s.listener for name, s in services.items()},
                INGRESS: before.envoy.listeners[INGRESS]
                if before
                else ingress_listener(ingress),
            }
        ),
        routes=MappingProxyType(
            {**{name: s.routes for name, s in services.items()}, INGRESS: table}
        ),
    )


def _for_grpc(services: Mapping[str, CompiledService]) -> ResourceSet:
    speaking = {name: s for name, s in services.items() if s.grpc_listener}
    return ResourceSet(
        clusters=MappingProxyType({name: s.cluster for name, s in speaking.items()}),
        endpoints=MappingProxyType({name: s.endpoints for name, s in speaking.items()}),
        listeners=MappingProxyType(
            {name: s.grpc_listener for name, s in speaking.items() if s.grpc_listener}
        ),
        routes=MappingProxyType({}),
    )
