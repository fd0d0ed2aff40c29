"""The ADS server: one Unix socket for the node's Envoy and its gRPC callers.

Only moves messages: what to send is decided in `stream`. Everything here runs
in one event loop.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from callmesh_agent.xds import descriptors
from callmesh_agent.xds.descriptors import DISCOVERY_REQUEST, DISCOVERY_RESPONSE, TYPE_PREFIX
from callmesh_agent.xds.rejections import Rejection
from callmesh_agent.xds.snapshot import Snapshot
from callmesh_agent.xds.stream import Client, Push, Stream
from callmesh_wire.channel import new_server

SERVICE = "envoy.service.discovery.v3.AggregatedDiscoveryService"
# Seconds until a rejected resource is sent once more. A port that another
# program holds is the usual reason, and nobody tells when it is free.
RETRY_REJECTED = 2.0

# Of the streams of the Envoys that are connected.
_Have = Callable[[list[Stream]], bool]


class AdsServer:
    """Serves the last published snapshot to whoever is connected."""

    def __init__(self, socket_path: str, on_rejected: Callable[[list[Rejection]], None]) -> None:
        """``on_rejected`` gets everything that clients refuse, whenever that changes.

        The caller holds the lock of the folder: a second server on the same
        path would take it over silently.
        """
        self._socket_path = socket_path
        self._on_rejected = on_rejected
        self._snapshot: Snapshot | None = None
        self._connections: set[_Connection] = set()
        self._rejections: list[Rejection] = []
        self._refused = asyncio.Event()
        self._waiting: list[tuple[_Have, asyncio.Future[None]]] = []

    async def run(self, started: Callable[[], None]) -> None:
        """Serve until cancelled. ``started`` is called once the socket is open.

        Clients that connect before the first `publish` wait.
        """
        server = new_server()
        server.add_generic_rpc_handlers((_handler(self._serve),))
        _bind(server, self._socket_path)
        await server.start()
        try:
            started()
            await self._retry_rejected()
        finally:
            await server.stop(grace=None)

    def publish(self, snapshot: Snapshot) -> None:
        """Bring every client, present and future, to this snapshot."""
        self._snapshot = snapshot
        for connection in self._connections:
            connection.state.set_target(snapshot)
            connection.wake.set()

    async def acked(self, version: int) -> None:
        """Wait until every connected Envoy has taken that version's endpoints.

        Returns at once if none is connected. An Envoy that goes away is no
        longer waited for; one that rejects endpoints is, until a later
        snapshot is taken: bound the wait.
        """
        await self._until(lambda envoys: all(each.endpoints_version >= version for each in envoys))

    async def taken(self, version: int) -> None:
        """Wait until an Envoy, and each that is connected, has answered all of that version.

        Listeners too; what it refuses counts as answered. Waits for as long as
        there is no Envoy.
        """
        await self._until(
            lambda envoys: bool(envoys) and all(each.whole_version >= version for each in envoys)
        )

    async def _until(self, have: _Have) -> None:
        if have(self._envoys()):
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (have, waiter)
        self._waiting.append(entry)
        try:
            await waiter
        finally:
            self._waiting.remove(entry)

    @property
    def rejections(self) -> list[Rejection]:
        """What clients refuse now."""
        return list(self._rejections)

    def _envoys(self) -> list[Stream]:
        states = (connection.state for connection in self._connections)
        return [state for state in states if state.client is Client.ENVOY]

    async def _serve(self, requests: AsyncIterator[Any], context: Any) -> None:
        """One client's stream, until it leaves."""
        connection = _Connection()
        if self._snapshot is not None:
            connection.state.set_target(self._snapshot)
        self._connections.add(connection)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._write(connection, context))
                async for request in requests:
                    connection.state.receive(request)
                    connection.wake.set()
                # Not cancelled: gRPC cannot end a stream in the middle of a write.
                connection.has_left = True
                connection.wake.set()
        finally:
            self._connections.discard(connection)
            self._changed()

    async def _write(self, connection: _Connection, context: Any) -> None:
        while True:
            await connection.wake.wait()
            connection.wake.clear()
            if connection.has_left:
                return
            pushes = connection.state.due()
            self._changed()
            for push in pushes:
                try:
                    await context.write(_response(push))
                except grpc.aio.BaseError:
                    return  # gone in the middle of it: it asks no more either

    def _changed(self) -> None:
        """Tell who waits for acks or rejections."""
        envoys = self._envoys()
        for have, waiter in self._waiting:
            if not waiter.done() and have(envoys):
                waiter.set_result(None)
        rejections = [r for c in self._connections for r in c.state.rejections]
        if rejections != self._rejections:
            self._rejections = rejections
            self._on_rejected(list(rejections))
        if rejections:
            self._refused.set()

    async def _retry_rejected(self) -> None:
        while True:
            await self._refused.wait()
            self._refused.clear()
            await asyncio.sleep(RETRY_REJECTED)
            for connection in self._connections:
                if connection.state.rejections:
                    connection.state.retry_rejected()
                    connection.wake.set()


class _Connection:
    """A stream's state and the event that makes its writer look at it."""

    def __init__(self) -> None:
        self.state = Stream()
        self.wake = asyncio.Event()
        # It asks no more: nothing more is written.
        self.has_left = False


def _bind(server: grpc.aio.Server, path: str) -> None:
    """Open the Unix socket for this user alone."""
    Path(path).unlink(missing_ok=True)
    mask = os.umask(0o177)
    try:
        server.add_insecure_port(f"unix:{path}")
    finally:
        os.umask(mask)


def client_bootstrap(socket_path: str, node: str, zone: str) -> str:
    """GRPC_XDS_BOOTSTRAP_CONFIG for a workload that calls `xds:///<mesh name>`."""
    return json.dumps(
        {
            "xds_servers": [
                {
                    "server_uri": f"unix://{socket_path}",
                    "channel_creds": [{"type": "insecure"}],
                    # A service that is gone for a moment must not fail calls at once.
                    "server_features": ["ignore_resource_deletion"],
                }
            ],
            "node": {"id": node, "cluster": "callmesh", "locality": {"zone": zone or "default"}},
        }
    )


def _handler(serve: Callable[[AsyncIterator[Any], Any], Any]) -> grpc.GenericRpcHandler[Any, Any]:
    return grpc.method_handlers_generic_handler(
        SERVICE,
        {
            "StreamAggregatedResources": grpc.stream_stream_rpc_method_handler(
                serve,
                request_deserializer=descriptors.message_class(DISCOVERY_REQUEST).FromString,
                response_serializer=descriptors.message_class(DISCOVERY_RESPONSE).SerializeToString,
            )
        },
    )


def _response(push: Push) -> Any:
    response = descriptors.message_class(DISCOVERY_RESPONSE)(
        version_info=str(push.version), type_url=TYPE_PREFIX + push.kind, nonce=push.nonce
    )
    response.resources.extend(item.packed for item in push.resources)
    return response
