"""Workloads' calls whose blobs stop at this node: asked for twice, they cross the network once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator

from google.protobuf.message import DecodeError

from callmesh_agent.blobs import PIECE, Blobs, Received, is_digest
from callmesh_agent.link import Calls, WorkloadIdentity
from callmeshpb.v1 import blob_pb2

DOWNLOAD = "BlobService/Download"
UPLOAD = "BlobService/Upload"
log = logging.getLogger("callmesh.agent")


class BlobCalls:
    """`callmesh_agent.link.Calls`, with downloads from the node's own blobs."""

    def __init__(self, calls: Calls, blobs: Blobs) -> None:
        self._calls = calls
        self._blobs = blobs

    async def call(
        self, method: str, requests: AsyncIterator[bytes], caller: WorkloadIdentity
    ) -> AsyncIterator[bytes]:
        """Call a control-plane method for a workload. Raises `CallmeshError`."""
        if self._blobs.keeps and method == DOWNLOAD:
            answers = self._download(requests, caller)
        elif self._blobs.keeps and method == UPLOAD:
            answers = self._upload(requests, caller)
        else:
            answers = self._calls.call(method, requests, caller)
        async for payload in answers:
            yield payload

    async def _download(
        self, requests: AsyncIterator[bytes], caller: WorkloadIdentity
    ) -> AsyncGenerator[bytes]:
        payload = await anext(requests, b"")
        digest = _digest_in(payload)
        if is_digest(digest):
            try:
                file = await self._blobs.open(digest)
            except OSError as problem:
                log.warning("blob `%s` is not kept on this node: %s", digest, problem)
            else:
                with file:
                    while data := await asyncio.to_thread(file.read, PIECE):
                        yield blob_pb2.DownloadResponse(data=data).SerializeToString()
                return
        async for answer in self._calls.call(DOWNLOAD, _again(payload), caller):
            yield answer

    async def _upload(
        self, requests: AsyncIterator[bytes], caller: WorkloadIdentity
    ) -> AsyncGenerator[bytes]:
        """Pass it on, and keep it once the server has it: who reads it may be here."""
        received = self._blobs.receiving()
        try:
            async for answer in self._calls.call(UPLOAD, _noted(requests, received), caller):
                try:
                    if await asyncio.to_thread(received.end) and is_digest(received.digest):
                        self._blobs.keep(received)
                except OSError as problem:
                    log.warning("an upload is not kept on this node: %s", problem)
                yield answer
        finally:
            received.drop()


async def _noted(requests: AsyncIterator[bytes], received: Received) -> AsyncIterator[bytes]:
    """The requests, each written down on its way for as long as the disk takes it."""
    writable = True
    async for payload in requests:
        if writable:
            try:
                request = blob_pb2.UploadRequest.FromString(payload)
                if not received.begun:
                    received.begin(request.digest)
                await asyncio.to_thread(received.add, request.data)
            except (DecodeError, OSError):
                writable = False
                received.drop()
        yield payload


async def _again(payload: bytes) -> AsyncIterator[bytes]:
    yield payload


def _digest_in(payload: bytes) -> str:
    try:
        return blob_pb2.DownloadRequest.FromString(payload).digest
    except DecodeError:
        return ""
