"""Frames: whole messages out of a byte stream, and an end to what is none."""

import asyncio
import socket
import struct

import pytest

from callmesh_wire import frames
from callmeshpb.v1 import workload_pb2

HELLO = workload_pb2.WorkloadMessage(hello=workload_pb2.WorkloadHello(worker_id="w"))


def reader_of(data: bytes) -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    reader.feed_data(data)
    reader.feed_eof()
    return reader


async def test_messages_are_read_back_until_the_end() -> None:
    reader = reader_of(frames.encode(HELLO) * 2)
    for _ in range(2):
        assert await frames.read(reader, workload_pb2.WorkloadMessage) == HELLO
    assert await frames.read(reader, workload_pb2.WorkloadMessage) is None


@pytest.mark.parametrize(
    "data",
    [
        frames.encode(HELLO)[:-1],
        b"\0\0",
        struct.pack(">I", frames.MAX_FRAME + 1) + b"x",
        b"GET / HTTP/1.1\r\n",
        struct.pack(">I", 3) + b"\xff\xff\xff",
    ],
)
async def test_what_is_not_a_frame_ends_the_connection(data: bytes) -> None:
    with pytest.raises(frames.FrameProblem):
        await frames.read(reader_of(data), workload_pb2.WorkloadMessage)


def test_blocking_ends_speak_the_same() -> None:
    left, right = socket.socketpair()
    with left, right:
        sender = frames.BlockingFrames(left, workload_pb2.WorkloadMessage)
        receiver = frames.BlockingFrames(right, workload_pb2.WorkloadMessage)
        sender.send(HELLO)
        assert receiver.receive() == HELLO
        left.shutdown(socket.SHUT_RDWR)
        assert receiver.receive() is None
