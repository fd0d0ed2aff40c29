"""Blobs on disk, and BlobService over real gRPC."""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from callmesh_server.store.blobs import Blobs
from callmesh_wire.errors import DataLossError, InvalidArgumentError, NotFoundError
from callmeshpb.v1 import blob_pb2

DATA = os.urandom(300_000)
DIGEST = hashlib.sha256(DATA).hexdigest()


async def chunks(data: bytes, size: int = 100_000) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def read(blobs: Blobs, digest: str) -> bytes:
    return b"".join([chunk async for chunk in blobs.chunks(digest)])


async def test_a_blob_comes_back_and_is_private(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path / "blobs")
    assert await blobs.receive(DIGEST, len(DATA), chunks(DATA)) == len(DATA)
    assert await read(blobs, DIGEST) == DATA
    assert blobs.path(DIGEST) == tmp_path / "blobs" / DIGEST[:2] / DIGEST
    assert blobs.path(DIGEST).stat().st_mode & 0o777 == 0o600
    assert await blobs.receive(DIGEST, len(DATA), chunks(b"whatever")) == len(DATA)
    assert await read(blobs, DIGEST) == DATA


@pytest.mark.parametrize(
    ("data", "size"),
    [(DATA[:-1], len(DATA)), (DATA + b"x", len(DATA)), (DATA[:-1] + b"?", len(DATA))],
)
async def test_bytes_that_differ_leave_nothing(tmp_path: Path, data: bytes, size: int) -> None:
    blobs = Blobs(tmp_path)
    with pytest.raises(DataLossError, match="send it again"):
        await blobs.receive(DIGEST, size, chunks(data))
    assert not blobs.claim(DIGEST)
    assert list(tmp_path.iterdir()) == []


async def test_an_unknown_blob_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="deploy again"):
        await read(Blobs(tmp_path), DIGEST)


async def test_upload_find_and_download_over_grpc(mesh: Any) -> None:
    async def upload() -> AsyncIterator[blob_pb2.UploadRequest]:
        yield blob_pb2.UploadRequest(digest=DIGEST, size=len(DATA), data=DATA[:1000])
        yield blob_pb2.UploadRequest(data=DATA[1000:])

    find = blob_pb2.FindMissingRequest(digests=[DIGEST, DIGEST])
    missing = await mesh.client.call("BlobService/FindMissing", find)
    assert list(missing.digests) == [DIGEST]
    method = mesh.client.channel.stream_unary(
        "/callmeshpb.v1.BlobService/Upload",
        request_serializer=blob_pb2.UploadRequest.SerializeToString,
        response_deserializer=blob_pb2.UploadResponse.FromString,
    )
    assert (await method(upload())).size == len(DATA)
    assert not (await mesh.client.call("BlobService/FindMissing", find)).digests
    request = blob_pb2.DownloadRequest(digest=DIGEST)
    parts = [each.data async for each in mesh.client.stream("BlobService/Download", request)]
    assert b"".join(parts) == DATA


async def test_a_path_is_no_digest(mesh: Any) -> None:
    request = blob_pb2.DownloadRequest(digest="../../token")
    with pytest.raises(InvalidArgumentError, match="64 lower-case hex digits"):
        async for _ in mesh.client.stream("BlobService/Download", request):
            pass
    with pytest.raises(InvalidArgumentError, match="64 lower-case hex digits"):
        await mesh.client.call(
            "BlobService/FindMissing", blob_pb2.FindMissingRequest(digests=["../x"])
        )
