"""The mesh view and this node's own truth → one consistent set of resources.

Pure. A service is compiled again only when something that it is made of
changed: pass the snapshot before as ``previous``, and whatever did not change
is the very same object in both. What a snapshot holds was checked: every
resource that another one names is there, and no two listeners want one port.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from callmesh_agent.xds.descriptors import CLUSTER, ENDPOINTS, KINDS, LISTENER, ROUTES
from callmesh_agent.xds.inbound import Inbound, compile_inbound
from callmesh_agent.xds.ingress import (
    INGRESS,
    PAGES,
    Ingress,
    app_host,
    ingress_listener,
    ingress_routes,
    pages_cluster,
)
from callmesh_agent.xds.packing import Resource
from callmesh_agent.xds.policy import CallPolicy
from callmesh_agent.xds.service import CompiledService, Inconsistent, compile_service
from callmesh_agent.xds.targets import LocalInstance, LocalTruth
from callmeshpb.v1 import node_pb2

__all__ = ["Inconsistent", "Ingress", "LocalInstance", "LocalTruth", "Snapshot", "compile_snapshot"]


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
class Snapshot:
    """A consistent set of resources. Values: never changed once made."""

    version: int
    envoy: ResourceSet
    grpc: ResourceSet
    services: Mapping[str, CompiledService]
    inbound: Mapping[str, Inbound]
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
            services[name] = compile_service(item, local, known.get(name))
        except Inconsistent as wrong:
            problems += wrong.problems
    if problems:
        raise Inconsistent(problems)
    hosts, notes = _hosts(services.values())
    domains = {policy.mesh_name: domain for policy, domain in hosts}
    inbound = compile_inbound(local, domains, previous.inbound if previous else {})
    envoy = _for_envoy(services, inbound, ingress, hosts, previous)
    grpc = _for_grpc(services)
    check(envoy)
    check(grpc)
    return Snapshot(
        version=version,
        envoy=envoy,
        grpc=grpc,
        services=MappingProxyType(services),
        inbound=MappingProxyType(inbound),
        notes=tuple(note for s in services.values() for note in s.notes) + notes,
        ingress=ingress,
        ingress_hosts=hosts,
    )


def check(resources_: ResourceSet) -> None:
    """Raise `Inconsistent` unless the set can be served whole."""
    problems = []
    ports: dict[str, str] = {}
    for kind in KINDS:
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


def _hosts(
    services: Iterable[CompiledService],
) -> tuple[tuple[tuple[CallPolicy, str], ...], tuple[str, ...]]:
    """Which host names each service gets at the ingress, and who lost a quarrel.

    Envoy refuses a table with a domain in it twice: the first by name has it.
    """
    ordered = sorted(services, key=lambda s: s.policy.mesh_name)
    # An app's own name is its own, whoever else wants it.
    taken = {f"{each.policy.mesh_name}.localhost": each.policy.mesh_name for each in ordered}
    hosts = []
    notes = []
    for service in ordered:
        name, domain = service.policy.mesh_name, service.custom_domain
        if domain == f"{name}.localhost":
            domain = ""
        elif domain in taken:
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
    inbound: Mapping[str, Inbound],
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
                app_host(services[policy.mesh_name].host, policy.mesh_name, domain)
                for policy, domain in hosts
            ],
        )
    clusters = {name: s.cluster for name, s in services.items()}
    clusters |= {name: each.cluster for name, each in inbound.items()}
    if ingress.pages_socket:
        clusters[PAGES] = before.envoy.clusters[PAGES] if before else pages_cluster(ingress)
    return ResourceSet(
        clusters=MappingProxyType(clusters),
        endpoints=MappingProxyType({name: s.endpoints for name, s in services.items()}),
        listeners=MappingProxyType(
            {
                **{name: s.listener for name, s in services.items()},
                **{name: each.listener for name, each in inbound.items()},
                INGRESS: before.envoy.listeners[INGRESS] if before else ingress_listener(ingress),
            }
        ),
        routes=MappingProxyType(
            {
                **{name: s.routes for name, s in services.items()},
                **{name: each.routes for name, each in inbound.items()},
                INGRESS: table,
            }
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
