"""The way out of one workload's connection: frames, some of which wait for the next."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

from callmesh_wire.frames import encode
from callmeshpb.v1 import workload_pb2

# What nobody waits for leaves with the next frame, or after so many seconds.
LINGER = 0.01
WRITE_HIGH = 1 << 20


class Outgoing:
    """What is sent to one workload; what comes after the end of its connection is dropped."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self._lingering = b""
        self._timer: asyncio.TimerHandle | None = None

    def open(self, transport: asyncio.Transport) -> None:
        """The connection is there."""
        self._transport = transport
        transport.set_write_buffer_limits(high=WRITE_HIGH)

    def close(self) -> None:
        """The connection has ended: nobody waits any longer."""
        self._take_lingering()
        self._transport = None
        self._writable.set()

    def send(self, message: workload_pb2.WorkloadReply) -> None:
        """Send one message."""
        self._write(self._take_lingering() + encode(message))

    def send_soon(self, message: workload_pb2.WorkloadReply) -> None:
        """Send it together with the next message, or after `LINGER`."""
        self._lingering += encode(message)
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(LINGER, lambda: self._write(self._take_lingering()))

    def pause(self) -> None:
        """The workload reads slowly: its streams wait."""
        self._writable.clear()

    def resume(self) -> None:
        """It has caught up."""
        self._writable.set()

    def until_writable(self) -> Awaitable[object] | None:
        """What to await before more of a stream is sent, or None."""
        return None if self._writable.is_set() else self._writable.wait()

    def _take_lingering(self) -> bytes:
        if self._timer is None:
            return b""
        self._timer.cancel()
        self._timer = None
        frames, self._lingering = self._lingering, b""
        return frames

    def _write(self, frames: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(frames)
