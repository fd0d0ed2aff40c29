"""Length-prefixed protobuf messages on a stream socket, both ends.

A frame is a 4-byte big-endian length and that many bytes of one message. A
length over `MAX_FRAME` ends the connection: it is a defect or an attack.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Generic, TypeVar

from google.protobuf.message import DecodeError, Message

MAX_FRAME = 64 * 1024 * 1024
# What is read at once: a frame or several.
_READ = 64 * 1024
_LENGTH = struct.Struct(">I")

Incoming = TypeVar("Incoming", bound=Message)


class FrameProblem(ConnectionError):
    """The peer sent what is not a frame of this protocol."""


def encode(message: Message) -> bytes:
    """One frame."""
    payload = message.SerializeToString()
    if len(payload) > MAX_FRAME:
        raise FrameProblem(f"a message of {len(payload)} bytes is over the limit of {MAX_FRAME}")
    return _LENGTH.pack(len(payload)) + payload


async def read(reader: asyncio.StreamReader, kind: type[Incoming]) -> Incoming | None:
    """The next message, or None at the end of the stream.

    Raises `FrameProblem` when the peer breaks the framing.
    """
    try:
        head = await reader.readexactly(_LENGTH.size)
        payload = await reader.readexactly(_checked(head))
    except asyncio.IncompleteReadError as problem:
        if problem.partial:
            raise FrameProblem("the stream ended inside a frame") from None
        return None
    return _decode(payload, kind)


class BlockingFrames(Generic[Incoming]):
    """Frames on a blocking socket, for processes without an event loop.

    Not safe for two threads that read, nor for two that write.
    """

    def __init__(self, connection: socket.socket, kind: type[Incoming]) -> None:
        self.connection = connection
        self._kind = kind
        # What was read and not yet given out.
        self._buffer = bytearray()

    def send(self, message: Message) -> None:
        """Send one message whole."""
        self.connection.sendall(encode(message))

    def receive(self) -> Incoming | None:
        """The next message, or None when the peer has closed."""
        buffer, needed = self._buffer, _LENGTH.size
        while True:
            if len(buffer) >= _LENGTH.size:
                needed = _LENGTH.size + _checked(buffer[: _LENGTH.size])
                if len(buffer) >= needed:
                    break
            part = self.connection.recv(min(max(needed - len(buffer), _READ), 1 << 20))
            if not part:
                if buffer:
                    raise FrameProblem("the stream ended inside a frame")
                return None
            buffer += part
        payload = bytes(buffer[_LENGTH.size : needed])
        del buffer[:needed]
        return _decode(payload, self._kind)


def _checked(head: bytes | bytearray) -> int:
    (length,) = _LENGTH.unpack(head)
    if length > MAX_FRAME:
        raise FrameProblem(f"a frame of {length} bytes is over the limit of {MAX_FRAME}")
    return int(length)


def _decode(payload: bytes, kind: type[Incoming]) -> Incoming:
    try:
        return kind.FromString(payload)
    except DecodeError as problem:
        raise FrameProblem(f"not a {kind.DESCRIPTOR.name}: {problem}") from None
