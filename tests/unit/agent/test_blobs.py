"""Blobs on a node's disk: fetched once, checked, within a cap; and the calls that they answer."""

from __future__ import annotations

import asyncio
import hashlib

import pytest

from callmesh_agent.blob_calls import BlobCalls
from callmesh_agent.blobs import KEEP_SECONDS, Blobs
from callmesh_agent.link import WorkloadIdentity
from callmesh_wire.errors import DataLossError, NotFoundError, UnavailableError
from callmeshpb.v1 import blob_pb2

CALLER = WorkloadIdentity("worker", "w", "p", "d")


class Store:
    """A link to a server that has these blobs; counts what crosses it."""

    def __init__(self):
        self.blobs = {}
        self.fetched = []
        self.calls = []
        self.away = False
        self.breaks = False
        self.full = False

    def add(self, content):
        digest = hashlib.sha256(content).hexdigest()
        self.blobs[digest] = content
        return digest

    async def download(self, digest):
        self.fetched.append(digest)
        await asyncio.sleep(0.01)
        if self.away:
            raise UnavailableError("away")
        if self.full:
            raise OSError(28, "No space left on device")
        if digest not in self.blobs:
            raise NotFoundError(f"there is no blob `{digest}`")
        content = self.blobs[digest]
        yield content[:3]
        if self.breaks:
            raise UnavailableError("away")
        yield content[3:]

    async def call(self, method, requests, caller):
        taken = [each async for each in requests]
        self.calls.append(method)
        if self.away:
            raise UnavailableError("away")
        if method == "BlobService/Upload":
            data = b"".join(blob_pb2.UploadRequest.FromString(each).data for each in taken)
            self.add(data)
            yield blob_pb2.UploadResponse(size=len(data)).SerializeToString()
        elif method == "BlobService/Download":
            digest = blob_pb2.DownloadRequest.FromString(taken[0]).digest
            yield blob_pb2.DownloadResponse(data=self.blobs[digest]).SerializeToString()
        else:
            yield b"answered"


@pytest.fixture
def store():
    return Store()


def kept(tmp_path, store, cap=1000, in_use=set):
    made = Blobs(tmp_path / "blobs", cap, store, in_use)
    made.find()
    return made


async def read(blobs, digest):
    with await blobs.open(digest) as file:
        return file.read()


async def call(link, method, *requests):
    async def sent():
        for each in requests:
            yield each.SerializeToString()

    return [each async for each in link.call(method, sent(), CALLER)]


async def downloaded(link, digest):
    answers = await call(link, "BlobService/Download", blob_pb2.DownloadRequest(digest=digest))
    return b"".join(blob_pb2.DownloadResponse.FromString(each).data for each in answers)


async def test_many_ask_at_once_and_one_fetches(tmp_path, store):
    digest = store.add(b"content")
    blobs = kept(tmp_path, store)
    found = await asyncio.gather(*(read(blobs, digest) for _ in range(20)))
    assert set(found) == {b"content"}
    store.away = True
    assert await read(blobs, digest) == b"content"
    assert store.fetched == [digest]


async def test_what_came_in_part_or_damaged_is_not_there(tmp_path, store):
    digest = store.add(b"content")
    blobs = kept(tmp_path, store)
    store.breaks = True
    with pytest.raises(UnavailableError):
        await read(blobs, digest)
    store.breaks = False
    store.blobs[digest] = b"contents"
    with pytest.raises(DataLossError, match=rf"`{digest}` is damaged"):
        await read(blobs, digest)
    assert list((tmp_path / "blobs").iterdir()) == []
    store.blobs[digest] = b"content"
    assert await read(blobs, digest) == b"content"


async def test_a_blob_may_be_empty(tmp_path, store):
    assert await read(kept(tmp_path, store), store.add(b"")) == b""


async def test_one_who_gives_up_leaves_the_fetch_to_the_next(tmp_path, store):
    digest = store.add(b"content")
    blobs = kept(tmp_path, store)
    async with asyncio.TaskGroup() as group:
        first = group.create_task(read(blobs, digest))
        while not store.fetched:
            await asyncio.sleep(0)
        second = group.create_task(read(blobs, digest))
        await asyncio.sleep(0)
        first.cancel()
    assert second.result() == b"content"
    assert store.fetched == [digest] * 2


async def test_the_next_agent_checks_what_it_finds(tmp_path, store):
    good, bad = store.add(b"good"), store.add(b"bad")
    before = kept(tmp_path, store)
    await read(before, good)
    await read(before, bad)
    (tmp_path / "blobs" / bad).write_bytes(b"b\0\0")
    (tmp_path / "blobs" / f"{good}.77.part").write_bytes(b"half")
    store.fetched.clear()
    again = kept(tmp_path, store)
    assert sorted(each.size for each in again.entries().values()) == [3, 4]
    assert await read(again, good) == b"good"
    assert await read(again, bad) == b"bad"
    assert store.fetched == [bad]
    assert {each.name for each in (tmp_path / "blobs").iterdir()} == {good, bad}


async def test_the_longest_unused_makes_room_and_what_is_in_use_stays(tmp_path, store):
    used, first, second, third = (store.add(each * 400) for each in (b"u", b"1", b"2", b"3"))
    blobs = kept(tmp_path, store, cap=1300, in_use=lambda: {used})
    for digest in (used, first, second):
        await read(blobs, digest)
    reading = await blobs.open(first)
    await read(blobs, third)
    assert set(blobs.entries()) == {used, first, third}
    await read(blobs, second)
    assert set(blobs.entries()) == {used, third, second}
    assert reading.read() == b"1" * 400
    reading.close()
    assert blobs.remove_old(KEEP_SECONDS + 2e9) and set(blobs.entries()) == {used}


async def test_what_is_larger_than_the_cap_is_read_all_the_same(tmp_path, store):
    digest = store.add(b"x" * 2000)
    blobs = kept(tmp_path, store)
    assert await read(blobs, digest) == b"x" * 2000
    assert blobs.entries() == {}
    assert list((tmp_path / "blobs").iterdir()) == []
    await blobs.place(digest, tmp_path / "placed")
    assert (tmp_path / "placed").read_bytes() == b"x" * 2000


async def test_a_parameter_is_placed_without_the_server(tmp_path, store):
    digest = store.add(b"weights")
    blobs = kept(tmp_path, store)
    await blobs.place(digest, tmp_path / "one")
    store.away = True
    await blobs.place(digest, tmp_path / "two")
    assert (tmp_path / "two").read_bytes() == b"weights"


async def test_downloads_of_workloads_cross_the_link_once(tmp_path, store):
    digest = store.add(bytes(range(256)) * 10_000)
    link = BlobCalls(store, kept(tmp_path, store, cap=10**7))
    found = await asyncio.gather(*(downloaded(link, digest) for _ in range(5)))
    assert set(found) == {store.blobs[digest]}
    assert (store.fetched, store.calls) == ([digest], [])
    with pytest.raises(NotFoundError, match="no blob"):
        await downloaded(link, "0" * 64)


async def test_an_upload_is_passed_on_and_read_here(tmp_path, store):
    blobs = kept(tmp_path, store)
    link = BlobCalls(store, blobs)
    digest = hashlib.sha256(b"onetwo").hexdigest()
    pieces = (
        blob_pb2.UploadRequest(digest=digest, size=6, data=b"one"),
        blob_pb2.UploadRequest(data=b"two"),
    )
    await call(link, "BlobService/Upload", *pieces)
    assert store.blobs[digest] == b"onetwo"
    assert await downloaded(link, digest) == b"onetwo"
    assert store.fetched == []
    store.away = True
    with pytest.raises(UnavailableError):
        await call(link, "BlobService/Upload", blob_pb2.UploadRequest(digest="f" * 64, data=b"x"))
    assert {each.name for each in (tmp_path / "blobs").iterdir()} == {digest}


async def test_uploads_make_room_too(tmp_path, store):
    blobs = kept(tmp_path, store, cap=1000)
    for each in (b"1", b"2", b"3"):
        content = each * 400
        digest = hashlib.sha256(content).hexdigest()
        sent = blob_pb2.UploadRequest(digest=digest, size=400, data=content)
        await call(BlobCalls(store, blobs), "BlobService/Upload", sent)
    assert len(blobs.entries()) == 2
    assert digest in blobs.entries()


@pytest.mark.parametrize("digest", ["f" * 64, "../../etc/passwd", "", "A" * 64])
async def test_an_upload_that_is_not_what_it_says_is_not_kept(tmp_path, store, digest):
    blobs = kept(tmp_path, store)
    sent = blob_pb2.UploadRequest(digest=digest, data=b"other")
    await call(BlobCalls(store, blobs), "BlobService/Upload", sent)
    assert blobs.entries() == {}
    assert list((tmp_path / "blobs").iterdir()) == []


async def test_a_full_disk_keeps_nobody_from_reading(tmp_path, store, caplog):
    digest = store.add(b"content")
    store.full = True
    assert await downloaded(BlobCalls(store, kept(tmp_path, store)), digest) == b"content"
    assert "is not kept on this node" in caplog.text


async def test_other_calls_and_a_node_that_keeps_nothing_pass_on(tmp_path, store):
    digest = store.add(b"content")
    link = BlobCalls(store, kept(tmp_path, store))
    assert await call(link, "SecretService/ListSecrets") == [b"answered"]
    nothing = BlobCalls(store, Blobs(tmp_path / "none", 0, store, set))
    assert await downloaded(nothing, digest) == b"content"
    assert not (tmp_path / "none").exists()
