"""The agent's way to the server when both share a process: no socket between."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Sequence

from callmesh_agent.link import WorkloadIdentity
from callmesh_server.api.caller import Caller, CallerKind
from callmesh_server.server import Server
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

    def call(
        self, method: str, requests: AsyncIterator[bytes], caller: WorkloadIdentity
    ) -> AsyncIterator[bytes]:
        """Call a control-plane method for a workload."""
        identity = Caller(
            kind=CallerKind.WORKLOAD,
            node=self._node,
            run=caller.run,
            app=caller.app,
            project=caller.project,
            domain=caller.domain,
            acts_for=self._server.person_of(caller.authorization),
        )
        return self._server.router.call_bytes(method, requests, identity)

    async def download(self, digest: str) -> AsyncGenerator[bytes]:
        """A blob's bytes in order, not checked."""
        request = blob_pb2.DownloadRequest(digest=digest)
        caller = Caller(kind=CallerKind.NODE, node=self._node)
        parts = self._server.router.call("BlobService/Download", request, caller)
        async with contextlib.aclosing(parts):
            async for part in parts:
                yield part.data
