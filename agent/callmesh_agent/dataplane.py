"""What this node's Envoy and its callers are told: from the view, and from itself.

The last view is kept on disk, and a new agent goes on from it. For this node's
own instances the core's word wins over the view, and is published before
anything else happens.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Mapping

from callmesh_agent import ports
from callmesh_agent.conditions import Conditions
from callmesh_agent.config import AgentSettings
from callmesh_agent.core.instructions import LocalEndpoint
from callmesh_agent.heldview import HeldView
from callmesh_agent.xds import inbound
from callmesh_agent.xds.ads import AdsServer
from callmesh_agent.xds.ingress import INGRESS
from callmesh_agent.xds.rejections import Rejection
from callmesh_agent.xds.snapshot import (
    Inconsistent,
    Ingress,
    LocalInstance,
    LocalTruth,
    Snapshot,
    compile_snapshot,
)
from callmesh_wire.diskfile import write_whole
from callmeshpb.v1 import registry_pb2

ACK_LIMIT = 5.0
# For Envoy to open an instance's door to other nodes, and how often that is looked at.
OPEN_LIMIT = 30.0
LISTEN_LOOK = 0.005
# Seconds until the endpoints are written again, after that failed.
RETRY_WRITE = 2.0
log = logging.getLogger("callmesh.agent")


class DataPlane:
    """The view, this node's truth about itself, and the snapshot of both."""

    def __init__(
        self,
        settings: AgentSettings,
        held: HeldView,
        conditions: Conditions,
        on_rejected: Callable[[list[Rejection]], None],
    ) -> None:
        """``held`` is what the server told."""
        self._settings = settings
        self._conditions = conditions
        self.ads = AdsServer(str(settings.ads_socket), on_rejected)
        self._ingress = Ingress(
            settings.ingress_address, settings.ingress_port, str(settings.pages_socket or "")
        )
        self._held = held
        self._local: dict[str, LocalInstance] = {}
        self._snapshot: Snapshot | None = None
        self._version = 0
        self._notes: tuple[str, ...] = ()
        self._viewed = asyncio.Event()
        # The endpoints that are on disk; None: it is not known which.
        self._written: dict[str, str] | None = None
        self._write_again: asyncio.TimerHandle | None = None

    @property
    def endpoints(self) -> dict[str, str]:
        """Mesh names and the base URLs at which code on this node calls them."""
        return {
            each.service.mesh_name: each.service.endpoint
            or f"http://127.0.0.1:{each.service.mesh_port}"
            for each in self._held.view.services
        }

    def ready_here(self) -> set[str]:
        """Instances of this node that took calls when the last view was made."""
        return {
            endpoint.instance_id
            for each in self._held.view.services
            for endpoint in each.service.endpoints
            if endpoint.node == self._settings.node
            and endpoint.health == registry_pb2.ENDPOINT_HEALTH_READY
        }

    def inbound_here(self) -> dict[str, int]:
        """Where other nodes call instances of this node, by id, as they were last told."""
        return {
            endpoint.instance_id: endpoint.port
            for each in self._held.view.services
            for endpoint in each.service.endpoints
            if endpoint.node == self._settings.node and not endpoint.local_only
        }

    def open(self) -> None:
        """Publish what is known from before: Envoy never sees less than that."""
        self._write_endpoints()
        self._publish()

    def follow_view(self) -> dict[str, str]:
        """Take over what is held; its endpoints, which are on disk when this returns.

        Where they cannot be written, that is said, and tried again.
        """
        self._publish()
        endpoints = self._write_endpoints()
        self._held.save()
        self._viewed.set()
        return endpoints

    async def report_views(self, report: Callable[[int], None]) -> None:
        """Say of each view when Envoy has taken it, however late. Never ends."""
        while True:
            await self._viewed.wait()
            self._viewed.clear()
            version = self._held.view.version
            await self.ads.taken(self._version)
            report(version)

    def set_local(self, rotation: Mapping[str, LocalEndpoint]) -> None:
        """Take over what this node knows of its own instances."""
        self._local = {
            name: LocalInstance(
                each.address,
                each.port,
                each.ready,
                each.inbound_port,
                each.mesh_name,
                each.speaks_grpc,
                each.open,
            )
            for name, each in rotation.items()
        }
        self._publish()

    def port_of(self, listener: str) -> int:
        """The port of a listener of ours, 0 if there is none of that name."""
        if listener == INGRESS:
            return self._settings.ingress_port
        if listener.startswith(inbound.PREFIX):
            own = self._local.get(listener.removeprefix(inbound.PREFIX))
            return own.inbound_port if own is not None else 0
        ports = {
            each.service.mesh_name: each.service.mesh_port for each in self._held.view.services
        }
        return ports.get(listener, 0)

    async def taken(self) -> None:
        """Wait until Envoy has the endpoints that were published last, within a limit."""
        try:
            async with asyncio.timeout(ACK_LIMIT):
                await self.ads.acked(self._version)
        except TimeoutError:
            log.warning("Envoy has not taken version %d within %g s", self._version, ACK_LIMIT)

    async def lets_in(self, port: int) -> None:
        """Wait until Envoy listens for other nodes on a port of what was published, within a limit.

        A node that was told of it earlier would be refused there.
        """
        try:
            async with asyncio.timeout(OPEN_LIMIT):
                await self.ads.taken(self._version)
                while True:
                    if ports.is_listened_on(port):
                        return
                    await asyncio.sleep(LISTEN_LOOK)
        except TimeoutError:
            log.warning("Envoy does not listen on port %d within %g s", port, OPEN_LIMIT)

    def _publish(self) -> None:
        self._version += 1
        settings = self._settings
        truth = LocalTruth(settings.node, settings.zone, self._local, settings.address)
        try:
            snapshot = compile_snapshot(
                self._held.view, truth, self._ingress, self._version, self._snapshot
            )
        except Inconsistent as problem:
            log.error("the mesh view cannot be served: %s", problem)
            self._conditions.view_problem(str(problem))
            return
        self._snapshot = snapshot
        self.ads.publish(snapshot)
        self._conditions.view_problem("")
        if snapshot.notes != self._notes:
            self._notes = snapshot.notes
            for note in snapshot.notes:
                log.warning("%s", note)

    def _write_endpoints(self) -> dict[str, str]:
        endpoints = self.endpoints
        if endpoints == self._written:
            return endpoints
        if self._write_again is not None:
            self._write_again.cancel()
            self._write_again = None
        file = self._settings.endpoints_file
        try:
            write_whole(file, json.dumps(endpoints, indent=1, sort_keys=True).encode())
        except OSError as problem:
            self._conditions.endpoints_problem(
                f"code on this node does not hear of changed endpoints: `{file}` cannot be "
                f"written ({problem.strerror}); make room, or give the folder to this user"
            )
            loop = asyncio.get_running_loop()
            self._write_again = loop.call_later(RETRY_WRITE, self._write_endpoints)
        else:
            self._written = endpoints
            self._conditions.endpoints_problem("")
        return endpoints
