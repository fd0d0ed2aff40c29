"""Large values and bundles in the blob store: content-addressed, in pieces."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from typing import TypeVar, cast

from callmesh import values
from callmesh._sync import bridge
from callmesh._transport import call, transport, while_away
from callmesh_wire.errors import DataLossError
from callmeshpb.v1 import blob_pb2, common_pb2, scheduler_pb2

PIECE = 1 << 20
Result = TypeVar("Result")


def digest_of(data: bytes | bytearray) -> str:
    """SHA-256 in hex."""
    return hashlib.sha256(data).hexdigest()


async def upload(data: bytes, digest: str) -> None:
    """Put bytes into the store unless it has them."""
    await _upload(digest, lambda: _pieces(data, digest))


async def upload_file(path: Path, digest: str, size: int) -> None:
    """`upload` of a file of that SHA-256 and size, a piece at a time."""
    await _upload(digest, lambda: _pieces_of_file(path, digest, size))


async def has(digest: str) -> bool:
    """The store has it."""
    missing = await call(
        blob_pb2.FindMissingResponse,
        "BlobService/FindMissing",
        blob_pb2.FindMissingRequest(digests=[digest]),
    )
    return digest not in missing.digests


async def download(ref: common_pb2.BlobRef) -> bytes:
    """Get bytes out of the store. Raises `DataLossError` for damaged ones."""
    data = bytearray()
    request = blob_pb2.DownloadRequest(digest=ref.digest)

    async def fetch() -> None:
        data.clear()
        async for answer in transport().stream("BlobService/Download", request):
            data.extend(cast("blob_pb2.DownloadResponse", answer).data)

    await _while_away(fetch)
    if digest_of(data) != ref.digest:
        raise DataLossError(f"blob `{ref.digest}` came back damaged: run the task again")
    return bytes(data)


async def download_file(digest: str, target: Path) -> None:
    """`download` into a file, a piece at a time."""
    request = blob_pb2.DownloadRequest(digest=digest)

    async def fetch() -> str:
        found = hashlib.sha256()
        with target.open("wb") as file:
            async for answer in transport().stream("BlobService/Download", request):
                data = cast("blob_pb2.DownloadResponse", answer).data
                found.update(data)
                file.write(data)
        return found.hexdigest()

    if await _while_away(fetch) != digest:
        raise DataLossError(f"blob `{digest}` came back damaged: run the task again")


async def offload(inputs: Mapping[str, common_pb2.Value]) -> dict[str, common_pb2.Value]:
    """Values as a request carries them: the large ones by reference.

    Also in all a request holds at most `values.INLINE_LIMIT` of them.
    """
    done = dict(inputs)
    total = sum(value.ByteSize() for value in done.values())
    for name, value in sorted(done.items(), key=lambda item: item[1].ByteSize(), reverse=True):
        if total <= values.INLINE_LIMIT:
            break
        total -= value.ByteSize()
        done[name] = common_pb2.Value(ref=await _put(value))
    return done


async def offload_in(submission: scheduler_pb2.Submission) -> None:
    """`offload` a submission's inputs where they are."""
    if submission.ByteSize() <= values.INLINE_LIMIT:
        return
    for name, value in (await offload(submission.inputs)).items():
        submission.inputs[name].CopyFrom(value)


async def fetched(outputs: Iterable[common_pb2.Value]) -> list[common_pb2.Value]:
    """Values with what they refer to."""
    done = []
    for value in outputs:
        if value.WhichOneof("kind") == "ref":
            data = await download(value.ref)
            found = common_pb2.Value()
            setattr(found, value.ref.media, data)
            done.append(found)
        else:
            done.append(value)
    return done


def offload_here(outputs: list[common_pb2.Value]) -> list[common_pb2.Value]:
    """`offload` for blocking code, in a worker: a list instead of names."""
    if sum(value.ByteSize() for value in outputs) <= values.INLINE_LIMIT:
        return outputs
    named = {str(index): value for index, value in enumerate(outputs)}
    done = bridge().run(offload(named))
    return [done[str(index)] for index in range(len(outputs))]


def load(ref: common_pb2.BlobRef) -> bytes:
    """`download` for blocking code, in a worker."""
    return bridge().run(download(ref))


async def _put(value: common_pb2.Value) -> common_pb2.BlobRef:
    kind = value.WhichOneof("kind") or "json"
    if kind == "ref":
        return value.ref
    data: bytes = getattr(value, kind)
    digest = digest_of(data)
    await upload(data, digest)
    return common_pb2.BlobRef(digest=digest, size=len(data), media=kind)


async def _upload(digest: str, pieces: Callable[[], AsyncIterator[blob_pb2.UploadRequest]]) -> None:
    if await has(digest):
        return

    async def send() -> None:
        async for _ in transport().stream("BlobService/Upload", pieces()):
            return

    await _while_away(send)


async def _while_away(ask: Callable[[], Awaitable[Result]]) -> Result:
    return await while_away(ask, lambda: transport().patience)


async def _pieces_of_file(
    path: Path, digest: str, size: int
) -> AsyncIterator[blob_pb2.UploadRequest]:
    with path.open("rb") as file:
        yield blob_pb2.UploadRequest(digest=digest, size=size, data=file.read(PIECE))
        while data := await asyncio.to_thread(file.read, PIECE):
            yield blob_pb2.UploadRequest(data=data)


async def _pieces(data: bytes, digest: str) -> AsyncIterator[blob_pb2.UploadRequest]:
    view = memoryview(data)
    yield blob_pb2.UploadRequest(digest=digest, size=len(data), data=bytes(view[:PIECE]))
    for start in range(PIECE, len(data), PIECE):
        yield blob_pb2.UploadRequest(data=bytes(view[start : start + PIECE]))
