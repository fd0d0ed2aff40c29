"""RegistryService: what can be called, for everybody, and what others add to it."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from callmesh_server.api import paging
from callmesh_server.api.addresses import Addresses
from callmesh_server.api.caller import Caller
from callmesh_server.api.idempotency import Requests
from callmesh_server.api.specs import is_ip
from callmesh_server.api.validate import Problems, scope_of
from callmesh_server.apply import Applier
from callmesh_server.catalog.embedded import EmbeddedCatalog, Registration
from callmesh_server.changes import Changes, ServiceChanged
from callmesh_server.core.ledger import Ledger
from callmesh_server.core.times import span
from callmesh_server.core.view import service_of
from callmesh_server.loop import Loop
from callmesh_server.mesh_ports import MeshPorts
from callmesh_wire.errors import FailedPreconditionError, NotFoundError
from callmesh_wire.names import AppName, check_app
from callmeshpb.v1 import common_pb2, registry_pb2

if TYPE_CHECKING:
    from callmesh_server.store.database import Database

MIN_LEASE = 1.0
MAX_LEASE = 24 * 3600.0
MAX_INSTANCES = 1_000


class RegistryApi:
    """The methods of RegistryService."""

    def __init__(
        self,
        ledger: Ledger,
        database: Database,
        applier: Applier,
        requests: Requests,
        changes: Changes,
        loop: Loop,
        ports: MeshPorts,
        addresses: Addresses,
    ) -> None:
        self._ledger = ledger
        self._world = ledger.world
        self._records = database.records
        self._applier = applier
        self._requests = requests
        self._changes = changes
        self._loop = loop
        self._ports = ports
        self._addresses = addresses
        self._catalog = EmbeddedCatalog(self._expired)
        # Watchers compare nothing: it only has to grow.
        self._version = time.time_ns()
        for row in database.loaded.externals:
            request = row.request
            name = AppName(request.scope.project, request.scope.domain, request.service)
            self._catalog.put(name, Registration(request, row.lease))
            self._publish(name)

    def close(self) -> None:
        """Let no lease end any more."""
        self._catalog.close()

    async def register(
        self, request: registry_pb2.RegisterRequest, _caller: Caller
    ) -> registry_pb2.RegisterResponse:
        """Add or renew an instance that the mesh does not run."""
        name, lease = _check_registration(request)

        async def change() -> registry_pb2.RegisterResponse:
            if name in self._world.apps:
                raise FailedPreconditionError(
                    f"`{name.name}` is an app of {name.project}/{name.domain}: "
                    "register under another name"
                )
            before = self._catalog.service(name)
            if before is not None and len(before.endpoints) >= MAX_INSTANCES:
                raise FailedPreconditionError(
                    f"service `{name.name}` has {MAX_INSTANCES:,} instances: deregister some"
                )
            kept = registry_pb2.RegisterRequest()
            kept.CopyFrom(request)
            kept.scope.project, kept.scope.domain = name.project, name.domain
            if self._catalog.put(name, Registration(kept, lease)):
                _, changes = self._ports.assign(name)
                record = self._records.put_external(
                    name.project, name.domain, name.name, lease, kept
                )
                self._applier.also(f"external/{name}/{request.instance_id}", [*changes, record])
                self._publish(name)
            return registry_pb2.RegisterResponse(service=service_of(self._world, name))

        return await self._requests.once(
            request.request_id, "Register", registry_pb2.RegisterResponse, change
        )

    async def deregister(
        self, request: registry_pb2.DeregisterRequest, _caller: Caller
    ) -> registry_pb2.DeregisterResponse:
        """Remove a registered instance."""
        name = _name(request.scope, request.service)

        async def change() -> registry_pb2.DeregisterResponse:
            if not self._remove(name, request.instance_id):
                raise NotFoundError(
                    f"service `{name.name}` of {name.project}/{name.domain} has no registered "
                    f"instance `{request.instance_id[:130]}`"
                )
            return registry_pb2.DeregisterResponse()

        return await self._requests.once(
            request.request_id, "Deregister", registry_pb2.DeregisterResponse, change
        )

    async def resolve(
        self, request: registry_pb2.ResolveRequest, _caller: Caller
    ) -> registry_pb2.ResolveResponse:
        """The service and its callable endpoints now."""
        name = _name(request.scope, request.service)
        service = service_of(self._world, name)
        if service is None:
            raise NotFoundError(
                f"there is no service `{name.name}` in {name.project}/{name.domain}: "
                "deploy an app or register an instance of that name"
            )
        return registry_pb2.ResolveResponse(service=service)

    async def watch(
        self, request: registry_pb2.WatchRequest, _caller: Caller
    ) -> AsyncIterator[registry_pb2.WatchResponse]:
        """The whole service, now and at every change; a deletion does not end it."""
        name = _name(request.scope, request.service)
        told: tuple[registry_pb2.Service | None] | None = None
        with self._changes.watch(ServiceChanged(name)) as changed:
            while True:
                changed.clear()
                service = service_of(self._world, name)
                if told is None or service != told[0]:
                    told = (service,)
                    self._version += 1
                    yield registry_pb2.WatchResponse(
                        exists=service is not None, service=service, version=self._version
                    )
                await changed.wait()

    async def list_services(
        self, request: registry_pb2.ListServicesRequest, _caller: Caller
    ) -> registry_pb2.ListServicesResponse:
        """A scope's services by name."""
        scope = scope_of(request.scope)
        names = self._world.apps.keys() | self._world.externals.keys()
        here = [name.name for name in names if (name.project, name.domain) == scope]
        found, token = paging.page(here, str, request.page_size, request.page_token)
        every = (service_of(self._world, AppName(*scope, each)) for each in found)
        services = [service for service in every if service is not None]
        return registry_pb2.ListServicesResponse(services=services, next_page_token=token)

    def _publish(self, name: AppName) -> None:
        service = self._catalog.service(name)
        if service is None:
            self._loop.mark(self._ledger.remove_external(name))
            return
        port, _ = self._ports.assign(name)
        service.mesh_port = port
        service.endpoint = self._addresses.endpoint(port)
        service.url = self._addresses.url(name)
        self._loop.mark(self._ledger.put_external(service))

    def _remove(self, name: AppName, identifier: str) -> bool:
        if not self._catalog.remove(name, identifier):
            return False
        changes = [self._records.delete_external(name.project, name.domain, name.name, identifier)]
        if self._catalog.service(name) is None:
            changes += self._ports.release(name)
        self._applier.also(f"external/{name}/{identifier}", changes)
        self._publish(name)
        return True

    def _expired(self, name: AppName, identifier: str) -> None:
        self._remove(name, identifier)
        self._applier.flush()


def _name(scope: common_pb2.Scope, service: str) -> AppName:
    """A service's full name."""
    problems = Problems()
    project, domain = scope_of(scope, problems)
    problems.name(check_app, service)
    problems.raise_if_any()
    return AppName(project, domain, service)


def _check_registration(request: registry_pb2.RegisterRequest) -> tuple[AppName, float]:
    problems = Problems()
    project, domain = scope_of(request.scope, problems)
    problems.name(check_app, request.service)
    if not request.instance_id or len(request.instance_id) > 128:
        problems.add("`instance_id` must have 1 to 128 characters")
    if not is_ip(request.address):
        problems.add(f"`address` is `{request.address[:70]}`: must be an IP address")
    problems.within(request.port, 1, 65_535, "port")
    if request.protocol not in (common_pb2.PROTOCOL_HTTP, common_pb2.PROTOCOL_GRPC):
        problems.add("`protocol` must be PROTOCOL_HTTP or PROTOCOL_GRPC")
    lease = span(request.lease)
    if not MIN_LEASE <= lease <= MAX_LEASE:
        problems.add(f"`lease` is {lease:g} s: must be between 1 s and 24 h")
    problems.raise_if_any()
    return AppName(project, domain, request.service), lease
