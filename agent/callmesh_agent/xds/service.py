"""One service of the view → everything that callers are told about it.

Pure. `compile_service` gives back what it gave before, the very same object,
where nothing changed that it is made of.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from callmesh_agent.xds import resources
from callmesh_agent.xds.ingress import domain_problem
from callmesh_agent.xds.packing import Resource
from callmesh_agent.xds.policy import CallPolicy, gaps
from callmesh_agent.xds.targets import LocalInstance, LocalTruth, targets
from callmesh_wire.names import AppName, NameProblem
from callmeshpb.v1 import common_pb2, node_pb2, registry_pb2


class Inconsistent(ValueError):
    """The view cannot be served as it is. ``problems`` are sentences, all at once."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


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
    # The virtual host, for any host name.
    host: Any = field(compare=False, repr=False)
    notes: tuple[str, ...] = ()

    def made_of(self, view: bytes, local: LocalTruth) -> bool:
        """Whether compiling from these would give the same."""
        return (
            self.view == view
            and (self.node, self.zone) == (local.node, local.zone)
            and self.local == tuple(map(local.instances.get, self.local_ids))
        )


def compile_service(
    view: node_pb2.ServiceView, local: LocalTruth, known: CompiledService | None
) -> CompiledService:
    """Compile a service. ``known`` is what it was before, to save work.

    Raises `Inconsistent` for one that cannot be served.
    """
    content = view.SerializeToString(deterministic=True)
    if known and known.made_of(content, local):
        return known
    _check_service(view.service)
    service = view.service
    name = service.mesh_name
    local_ids = tuple(e.instance_id for e in service.endpoints if e.node == local.node)
    called, notes = targets(view, local)
    policy = CallPolicy.of(view)
    problem = domain_problem(view.custom_domain) if view.custom_domain else ""
    custom_domain = "" if problem else view.custom_domain
    if problem:
        notes.append(f"{problem}; app `{name}` answers at `{name}.localhost` only")
    kept = known if known and known.policy == policy else None
    host = kept.host if kept else resources.virtual_host(policy)
    routes_kept = kept if kept and kept.custom_domain == custom_domain else None
    names = (name, service.name, *([custom_domain] if custom_domain else []))
    port_kept = known and known.listener.binds == f"127.0.0.1:{service.mesh_port}"
    is_grpc = service.protocol == common_pb2.PROTOCOL_GRPC
    return CompiledService(
        view=content,
        node=local.node,
        zone=local.zone,
        local_ids=local_ids,
        local=tuple(map(local.instances.get, local_ids)),
        policy=policy,
        custom_domain=custom_domain,
        cluster=_same(known.cluster if known else None, resources.cluster(name, service.protocol)),
        endpoints=_same(known.endpoints if known else None, resources.endpoints(name, called)),
        listener=known.listener
        if known and port_kept
        else resources.mesh_listener(name, service.mesh_port),
        routes=routes_kept.routes if routes_kept else resources.mesh_routes(name, host, names),
        grpc_listener=resources.grpc_listener(policy) if is_grpc else None,
        host=host,
        notes=tuple(notes + gaps(view)),
    )


def _same(old: Resource | None, new: Resource) -> Resource:
    return old if old is not None and old == new else new


def _check_service(service: registry_pb2.Service) -> None:
    try:
        AppName.from_mesh_name(service.mesh_name)
    except NameProblem as wrong:
        raise Inconsistent([str(wrong)]) from None
    if not 0 < service.mesh_port < 65536:
        raise Inconsistent(
            [f"service `{service.mesh_name}` has mesh port {service.mesh_port}: must be 1 to 65535"]
        )
