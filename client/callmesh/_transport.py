"""The one question that every verb asks of the mesh, whatever carries it.

Outside workloads gRPC (`_control`), inside them frames on the node's socket
(`_node`). Both belong to the loop of `_sync`.
"""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextvars import ContextVar
from typing import Protocol, TypeVar, cast

from google.protobuf.message import Message

from callmesh import _runtime, settings
from callmesh._sync import bridge
from callmesh_wire.backoff import Backoff
from callmesh_wire.errors import UnavailableError

Answer = TypeVar("Answer", bound=Message)
Result = TypeVar("Result")

RECONNECT = Backoff(base=0.05, factor=2.0, cap=1.0)
# Seconds for which a control plane that is away is waited for, where the caller
# has no deadline of its own: one that never answered, and one that did.
FIRST_PATIENCE = 2.0
PATIENCE = 300.0
# Told, each time that one which did answer is waited for, in the asker's context.
on_away: ContextVar[Callable[[], None]] = ContextVar("callmesh_on_away", default=lambda: None)


class Transport(Protocol):
    """Calls of control-plane methods, by names such as "SchedulerService/GetRun"."""

    @property
    def patience(self) -> float:
        """Seconds for which the control plane is waited for now, where no deadline is given."""
        ...

    async def unary(
        self, method: str, request: Message, *, timeout: float | None = None
    ) -> Message:
        """Call once; again while the server is away, for every request is safe to repeat.

        Raises `UnavailableError` when it stays away for `patience` seconds,
        `DeadlineError` after ``timeout`` seconds.
        """
        ...

    def stream(
        self, method: str, requests: Message | AsyncIterator[Message]
    ) -> AsyncIterator[Message]:
        """Call with a stream on either side or both.

        A connection that is lost raises `UnavailableError`: the caller knows
        where to resume. Closing the generator cancels the call.
        """
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


async def while_away(
    ask: Callable[[], Awaitable[Result]], patience: Callable[[], float], limit: float | None = None
) -> Result:
    """What ``ask`` answers; it is asked again while it raises `UnavailableError`.

    That is raised once the control plane was away for ``patience`` seconds, or
    for ``limit``.
    """
    started = time.monotonic()
    attempt = 0
    while True:
        try:
            return await ask()
        except UnavailableError:
            delay = jittered(attempt)
            most = patience() if limit is None else limit
            if time.monotonic() + delay > started + most:
                raise
            if most > FIRST_PATIENCE:
                on_away.get()()
        attempt += 1
        await asyncio.sleep(delay)


def new_request_id() -> str:
    """A `request_id`: repeated calls with it are one call."""
    return uuid.uuid4().hex


def jittered(attempt: int) -> float:
    """Seconds before reconnection number ``attempt``, from 0."""
    return RECONNECT.jittered(attempt, random.random)
