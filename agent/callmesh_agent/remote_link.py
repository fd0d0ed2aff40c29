"""The agent's way to a server on another machine: gRPC by TLS, with the join token."""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Any

import grpc
import grpc.aio

from callmesh_agent.cancelled import raise_if_cancelled
from callmesh_agent.link import WorkloadIdentity
from callmesh_wire import status
from callmesh_wire.channel import CALLER, credentials, open_node_channel
from callmesh_wire.errors import (
    FailedPreconditionError,
    PermissionDeniedError,
    UnavailableError,
)
from callmesh_wire.jointoken import JoinToken
from callmesh_wire.methods import Method, methods
from callmesh_wire.requests import Requests
from callmeshpb.v1 import blob_pb2, node_pb2

# What gRPC says before the reason.
_PREAMBLE = re.compile(
    r".*last error: [A-Z_]+: \S+ (?:Failed to connect to remote host: )?"
    r"|errors resolving .*lookup error:"
)


class RemoteLink:
    """`callmesh_agent.link.Link` over one channel, which connects again by itself."""

    def __init__(self, target: str, token: JoinToken, node: str, key: str) -> None:
        """``key`` is what the node proves its name with."""
        self._target = target
        self._channel = open_node_channel(target, token.certificate)
        self._token = credentials(token.secret)
        self._node = node
        self._key = key
        self._own = node_pb2.ForwardedCaller(node=node, key=key)

    async def session(
        self, outgoing: AsyncIterator[Sequence[node_pb2.AgentMessage]]
    ) -> AsyncGenerator[Sequence[node_pb2.ServerMessage]]:
        """The standing session."""

        async def requests() -> AsyncIterator[bytes]:
            async for messages in outgoing:
                yield node_pb2.SessionRequest(messages=messages).SerializeToString()

        said = node_pb2.ForwardedCaller(node=self._node)
        async for payload in self._call("NodeService/Session", requests(), said):
            yield node_pb2.SessionResponse.FromString(payload).messages

    async def call(
        self, method: str, requests: AsyncIterator[bytes], caller: WorkloadIdentity
    ) -> AsyncIterator[bytes]:
        """Call a control-plane method for a workload."""
        said = node_pb2.ForwardedCaller(
            node=self._node,
            key=self._key,
            workload=True,
            run=caller.run,
            app=caller.app,
            project=caller.project,
            domain=caller.domain,
            authorization=caller.authorization,
        )
        async for payload in self._call(method, requests, said):
            yield payload

    async def pages(self, sent: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
        """One connection to the mesh's pages, byte by byte."""

        async def requests() -> AsyncIterator[bytes]:
            async for data in sent:
                yield node_pb2.PagesRequest(data=data).SerializeToString()

        async for payload in self._call("NodeService/Pages", requests(), self._own):
            yield node_pb2.PagesResponse.FromString(payload).data

    async def download(self, digest: str) -> AsyncGenerator[bytes]:
        """A blob's bytes in order, not checked."""

        async def request() -> AsyncIterator[bytes]:
            yield blob_pb2.DownloadRequest(digest=digest).SerializeToString()

        payloads = self._call("BlobService/Download", request(), self._own)
        async with contextlib.aclosing(payloads):
            async for payload in payloads:
                yield blob_pb2.DownloadResponse.FromString(payload).data

    async def close(self) -> None:
        """Close the channel."""
        await self._channel.close()

    async def _call(
        self, method: str, requests: AsyncIterator[bytes], said: node_pb2.ForwardedCaller
    ) -> AsyncGenerator[bytes]:
        kind = methods().get(method)
        if kind is None:
            raise PermissionDeniedError(f"there is no method `{method}`")
        metadata = (*self._token, (CALLER, said.SerializeToString()))
        taken = Requests(requests)
        call = await self._begin(kind, taken, metadata)
        try:
            if kind.server_streaming:
                async for payload in call:
                    yield payload
            else:
                yield await call
        except grpc.RpcError as problem:
            raise_if_cancelled()
            raise self._translated(problem) from None
        finally:
            call.cancel()
            if kind.client_streaming:
                taken.end()

    async def _begin(self, kind: Method, requests: AsyncIterator[bytes], metadata: Any) -> Any:
        # Without serializers gRPC passes bytes on as they are.
        factory = {
            (True, True): self._channel.stream_stream,
            (True, False): self._channel.stream_unary,
            (False, True): self._channel.unary_stream,
            (False, False): self._channel.unary_unary,
        }[kind.client_streaming, kind.server_streaming]
        call = factory(kind.path)
        if kind.client_streaming:
            return call(requests, metadata=metadata)
        return call(await anext(requests, b""), metadata=metadata)

    def _translated(self, problem: grpc.RpcError) -> Exception:
        if status.is_typed(problem):
            return status.from_rpc(problem)
        error = status.from_rpc(problem)
        if isinstance(error, UnavailableError):
            return self._unreached(_details(problem))
        return error

    def _unreached(self, said: str) -> Exception:
        if "CERTIFICATE_VERIFY_FAILED" in said:
            return FailedPreconditionError(
                f"the server at `{self._target}` is not the one of this node's join token: copy "
                "the file `join.token` of its state folder to the node"
            )
        if "WRONG_VERSION_NUMBER" in said:
            return UnavailableError(
                f"what listens at `{self._target}` does not speak TLS: name the server's port for "
                "nodes, its `--node-port`"
            )
        why = _PREAMBLE.sub("", said)[:200]
        return UnavailableError(
            f"the server at `{self._target}` does not answer{': ' if why else ''}{why}"
        )


def _details(problem: grpc.RpcError) -> str:
    """What gRPC says of it, in one line."""
    details = problem.details() if isinstance(problem, grpc.aio.AioRpcError) else ""
    return " ".join(str(details or "").split())
