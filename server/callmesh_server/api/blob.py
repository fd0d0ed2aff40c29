"""BlobService: content-addressed bundles and large values."""

from __future__ import annotations

from collections.abc import AsyncIterator

from callmesh_server.api.caller import Caller
from callmesh_server.api.validate import Problems, is_digest
from callmesh_server.store.blobs import Blobs
from callmesh_wire.errors import InvalidArgumentError
from callmeshpb.v1 import blob_pb2

MAX_DIGESTS = 10_000


class BlobApi:
    """The methods of BlobService."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs

    async def find_missing(
        self, request: blob_pb2.FindMissingRequest, _caller: Caller
    ) -> blob_pb2.FindMissingResponse:
        """Which of these digests the server lacks, each once."""
        problems = Problems()
        problems.count(request.digests, MAX_DIGESTS, "digests")
        for digest in request.digests[:MAX_DIGESTS]:
            problems.digest(digest, "digests")
        problems.raise_if_any()
        missing = [each for each in dict.fromkeys(request.digests) if not self._blobs.claim(each)]
        return blob_pb2.FindMissingResponse(digests=missing)

    async def upload(
        self, requests: AsyncIterator[blob_pb2.UploadRequest], _caller: Caller
    ) -> blob_pb2.UploadResponse:
        """Store one blob; answered once it is on disk under its digest."""
        first = await anext(requests, None)
        if first is None:
            raise InvalidArgumentError("an upload begins with `digest` and `size`")
        if not is_digest(first.digest):
            raise InvalidArgumentError(
                f"`digest` is `{first.digest[:70]}`: must be 64 lower-case hex digits (SHA-256)"
            )

        async def chunks() -> AsyncIterator[bytes]:
            yield first.data
            async for request in requests:
                if request.digest not in ("", first.digest):
                    raise InvalidArgumentError("an upload carries one blob: `digest` changed")
                yield request.data

        size = await self._blobs.receive(first.digest, first.size, chunks())
        return blob_pb2.UploadResponse(size=size)

    async def download(
        self, request: blob_pb2.DownloadRequest, _caller: Caller
    ) -> AsyncIterator[blob_pb2.DownloadResponse]:
        """The bytes in order."""
        if not is_digest(request.digest):
            raise InvalidArgumentError("`digest` must be 64 lower-case hex digits (SHA-256)")
        async for data in self._blobs.chunks(request.digest):
            yield blob_pb2.DownloadResponse(data=data)
