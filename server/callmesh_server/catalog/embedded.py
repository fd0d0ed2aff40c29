"""The server's own catalog: services that others registered, under leases.

Leases are kept in memory on the monotonic clock. A start of the server grants
each a full period: its callers could not renew while it was away.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from callmesh_wire.names import AppName
from callmeshpb.v1 import registry_pb2


@dataclass(frozen=True, slots=True)
class Registration:
    """One registered instance and how long it lives without a renewal, seconds."""

    request: registry_pb2.RegisterRequest
    lease: float


class EmbeddedCatalog:
    """Registered instances by service. ``expired`` is called when a lease has ended."""

    def __init__(self, expired: Callable[[AppName, str], None]) -> None:
        self._expired = expired
        self._services: dict[AppName, dict[str, Registration]] = {}
        self._timers: dict[tuple[AppName, str], asyncio.TimerHandle] = {}

    def put(self, name: AppName, registration: Registration) -> bool:
        """Add or renew an instance; True if it is new or differs from what was there."""
        identifier = registration.request.instance_id
        instances = self._services.setdefault(name, {})
        before = instances.get(identifier)
        instances[identifier] = registration
        key = (name, identifier)
        if key in self._timers:
            self._timers[key].cancel()
        loop = asyncio.get_running_loop()
        self._timers[key] = loop.call_later(registration.lease, self._expired, *key)
        return before is None or not _same(before, registration)

    def remove(self, name: AppName, identifier: str) -> bool:
        """Forget an instance; False if there was none. The last one ends the service."""
        timer = self._timers.pop((name, identifier), None)
        if timer is not None:
            timer.cancel()
        instances = self._services.get(name, {})
        found = instances.pop(identifier, None) is not None
        if not instances:
            self._services.pop(name, None)
        return found

    def service(self, name: AppName) -> registry_pb2.Service | None:
        """The service as it is, without addresses of the mesh; None if there is none."""
        instances = self._services.get(name)
        if not instances:
            return None
        service = registry_pb2.Service(
            project=name.project,
            domain=name.domain,
            name=name.name,
            mesh_name=name.mesh_name,
            external=True,
        )
        for identifier in sorted(instances):
            request = instances[identifier].request
            service.protocol = request.protocol
            service.endpoints.add(
                instance_id=identifier,
                address=request.address,
                port=request.port,
                health=registry_pb2.ENDPOINT_HEALTH_READY,
            )
        return service

    def close(self) -> None:
        """Let no lease end any more."""
        for timer in self._timers.values():
            timer.cancel()


def _same(one: Registration, other: Registration) -> bool:
    mine, theirs = registry_pb2.RegisterRequest(), registry_pb2.RegisterRequest()
    mine.CopyFrom(one.request)
    theirs.CopyFrom(other.request)
    for each in (mine, theirs):
        each.ClearField("request_id")
    return mine == theirs
