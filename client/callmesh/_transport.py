"""The one question that every verb asks of the mesh, whatever carries it.

Outside workloads gRPC (`_control`), inside them frames on the node's socket
(`_node`). Both belong to the loop of `_sync`.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import AsyncIterator
from typing import Protocol, TypeVar, cast

from google.protobuf.message import Message

from callmesh import _runtime, settings
from callmesh._sync import bridge
from callmesh_wire.backoff import Backoff

Answer = TypeVar("Answer", bound=Message)

RECONNECT = Backoff(base=0.05, factor=2.0, cap=1.0)


class Transport(Protocol):
    """Calls of control-plane methods, by names such as "SchedulerService/GetRun"."""

    async def unary(
        self, method: str, request: Message, *, timeout: float | None = None
    ) -> Message:
        """Call once. Raises `callmesh_wire.errors.CallmeshError`."""
        ...

    def stream(
        self, method: str, requests: Message | AsyncIterator[Message]
    ) -> AsyncIterator[Message]:
        """Call with a stream on either side or both."""
        ...

    async def close(self) -> None:
        """Close what is open."""
        ...


def transport() -> Transport:
    """The way to the mesh that the settings name. For code on the bridge's loop."""
    socket_path = _runtime.workload_socket()
    if socket_path:
        key = ("workload", socket_path)
    else:
        found = settings.needs_mesh().place
        assert found is not None
        key = (found.target, found.token_file)
    cells = bridge().cells
    known = cells.get(key)
    if known is None:
        known = cells[key] = _open(socket_path)
        bridge().closers.append(known.close)
    return cast("Transport", known)


def _open(socket_path: str) -> Transport:
    if socket_path:
        from callmesh._node import NodeTransport

        return NodeTransport(socket_path)
    from callmesh._control import ControlTransport

    place = settings.current().place
    assert place is not None
    return ControlTransport(place)


async def call(
    kind: type[Answer], method: str, request: Message, *, timeout: float | None = None
) -> Answer:
    """Call once and get the answer's own type. Raises `CallmeshError`."""
    del kind
    return cast("Answer", await transport().unary(method, request, timeout=timeout))


def new_request_id() -> str:
    """A `request_id`: repeated calls with it are one call."""
    return uuid.uuid4().hex


def jittered(attempt: int) -> float:
    """Seconds before reconnection number ``attempt``, from 0."""
    return RECONNECT.jittered(attempt, random.random)
