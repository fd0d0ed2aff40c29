"""The agent's way to the server when both share a process: no socket between."""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from google.protobuf.message import Message

from callmesh_agent.link import WorkloadIdentity
from callmesh_server.api.caller import Caller, CallerKind
from callmesh_server.server import Server
from callmesh_wire.errors import DataLossError, PermissionDeniedError
from callmesh_wire.methods import methods
from callmeshpb.v1 import blob_pb2, node_pb2


class InMemoryLink:
    """`callmesh_agent.link.Link` over a server in the same event loop."""

    def __init__(self, server: Server, node: str) -> None:
        self._server = server
        self._node = node

    def session(
        self, outgoing: AsyncIterator[Sequence[node_pb2.AgentMessage]]
    ) -> AsyncIterator[Sequence[node_pb2.ServerMessage]]:
        """The standing session: both directions by reference, nothing is copied."""
        return self._server.sessions.serve(outgoing)

    async def call(
        self, method: str, requests: AsyncIterator[bytes], caller: WorkloadIdentity
    ) -> AsyncIterator[bytes]:
        """Call a control-plane method for a workload."""
        kind = methods().get(method)
        if kind is None:
            raise PermissionDeniedError(f"there is no method `{method}`")

        async def parsed() -> AsyncIterator[Message]:
            async for payload in requests:
                yield kind.request.FromString(payload)

        identity = Caller(
            kind=CallerKind.WORKLOAD,
            node=self._node,
            run=caller.run,
            app=caller.app,
            project=caller.project,
            domain=caller.domain,
            acts_for=self._server.person_of(caller.authorization),
        )
        async for response in self._server.router.call(method, parsed(), identity):
            yield response.SerializeToString()

    async def fetch_blob(self, digest: str, target: Path) -> None:
        """Write a blob to ``target``, whole and checked, or raise."""
        request = blob_pb2.DownloadRequest(digest=digest)
        caller = Caller(kind=CallerKind.NODE, node=self._node)
        draft = target.with_name(f"{target.name}.{os.getpid()}.part")
        seen = hashlib.sha256()
        with draft.open("wb") as file:
            async for part in self._server.router.call("BlobService/Download", request, caller):
                seen.update(part.data)
                file.write(part.data)
        if seen.hexdigest() != digest:
            draft.unlink()
            raise DataLossError(f"blob `{digest}` is damaged: deploy again to send it anew")
        draft.replace(target)
