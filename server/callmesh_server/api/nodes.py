"""Nodes and the server itself, for whoever looks; and the agents' own service."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

from callmesh_server.api import paging
from callmesh_server.api.caller import Caller, CallerKind
from callmesh_server.config import ServerSettings
from callmesh_server.core.attempts import current
from callmesh_server.core.joining import PROTOCOL_VERSION
from callmesh_server.core.times import stamp
from callmesh_server.core.world import NOTHING, World
from callmesh_server.sessions import Sessions
from callmesh_wire.batches import batches
from callmesh_wire.errors import PermissionDeniedError, UnimplementedError
from callmeshpb.v1 import common_pb2, node_pb2, scheduler_pb2


class NodesApi:
    """ListNodes and GetServer of SchedulerService."""

    def __init__(self, world: World, settings: ServerSettings, epoch: int) -> None:
        self._world = world
        self._settings = settings
        self._epoch = epoch
        self._started_at = stamp(time.time())

    async def list_nodes(
        self, request: scheduler_pb2.ListNodesRequest, _caller: Caller
    ) -> scheduler_pb2.ListNodesResponse:
        """Nodes by name, with what is on them."""
        found, token = paging.page(
            list(self._world.nodes), str, request.page_size, request.page_token
        )
        return scheduler_pb2.ListNodesResponse(
            nodes=[self._whole(name) for name in found], next_page_token=token
        )

    async def get_server(
        self, request: scheduler_pb2.GetServerRequest, caller: Caller
    ) -> scheduler_pb2.GetServerResponse:
        """What this server is."""
        return scheduler_pb2.GetServerResponse(
            version=self._settings.version,
            protocol_version=PROTOCOL_VERSION,
            state_dir=str(self._settings.state_dir),
            ingress_url=self._settings.ingress_url,
            started_at=self._started_at,
            epoch=self._epoch,
            pid=os.getpid(),
            caller=caller.label,
            storage=await asyncio.to_thread(_storage, self._settings) if request.storage else (),
        )

    def _whole(self, name: str) -> scheduler_pb2.Node:
        state = self._world.nodes[name]
        node = scheduler_pb2.Node()
        node.CopyFrom(state.record)
        node.ClearField("key_digest")
        node.connected = state.connected
        node.instances = len(self._world.instances_on_node.get(name, NOTHING))
        node.attempts = sum(
            current(self._world.runs[run]) is not None
            for run in self._world.runs_on_node.get(name, NOTHING)
        )
        return node


def _storage(settings: ServerSettings) -> list[common_pb2.StorageUse]:
    """The store with its journal, and the blobs."""
    store = list(settings.database.parent.glob(f"{settings.database.name}*"))
    blobs = list(settings.blobs.glob("*/*"))
    return [
        _use("store", settings.database.parent, store),
        _use("blobs", settings.blobs, blobs),
    ]


def _use(kind: str, folder: Path, files: list[Path]) -> common_pb2.StorageUse:
    size = 0
    for each in files:
        with contextlib.suppress(FileNotFoundError):
            size += each.stat().st_size
    return common_pb2.StorageUse(kind=kind, folder=str(folder), bytes=size, count=len(files))


class NodeApi:
    """NodeService: the agents' sessions over gRPC."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    async def session(
        self, requests: AsyncIterator[node_pb2.SessionRequest], caller: Caller
    ) -> AsyncIterator[node_pb2.SessionResponse]:
        """One agent's session."""
        if caller.kind is CallerKind.WORKLOAD:
            raise PermissionDeniedError("a workload has no session: its node's agent has")
        async with aclosing(self._sessions.serve(_batches(requests))) as ready:
            async for messages in ready:
                for batch in batches(messages):
                    yield node_pb2.SessionResponse(messages=batch)

    async def drain(
        self, _request: node_pb2.DrainRequest, _caller: Caller
    ) -> node_pb2.DrainResponse:
        """Not before there are several nodes."""
        raise UnimplementedError(
            "a node cannot be drained yet: this mesh has one node; stop it with `callmesh down`"
        )


async def _batches(
    requests: AsyncIterator[node_pb2.SessionRequest],
) -> AsyncIterator[list[node_pb2.AgentMessage]]:
    async for request in requests:
        if request.messages:
            yield list(request.messages)
