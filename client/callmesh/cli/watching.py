"""Streams that a command watches, across restarts of the control plane."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from typing import Any, cast

from google.protobuf.message import Message

from callmesh import _transport
from callmesh_wire import errors
from callmeshpb.v1 import log_pb2

# A watch outlives a restart of the control plane, and not its end.
PATIENCE = 600.0


async def watching(
    method: str,
    request: Message,
    on_lost: Callable[[], None],
    note: Callable[[Any, Any], None] | None = None,
) -> AsyncGenerator[Message, None]:
    """A stream's answers; opened again, with the same request, when it is lost.

    ``note`` may write down in the request what was taken in. Raises
    `UnavailableError` where nobody answered at all, and when the control plane
    stays away.
    """
    tries, lost_at = 0, 0.0
    while True:
        try:
            async for answer in stream(method, request):
                tries = 0
                yield answer
                if note is not None:
                    note(request, answer)
        except errors.UnavailableError:
            lost_at = lost_at if tries else time.monotonic()
            was_reached = _transport.transport().patience > _transport.FIRST_PATIENCE
            if not was_reached or time.monotonic() - lost_at > PATIENCE:
                raise
        else:
            return
        on_lost()
        await asyncio.sleep(_transport.jittered(tries))
        tries += 1


async def stream(method: str, request: Message) -> AsyncGenerator[Message, None]:
    """A stream's answers, once; it is cancelled when nobody listens any longer."""
    answers = _transport.transport().stream(method, request)
    try:
        async for answer in answers:
            yield answer
    finally:
        if isinstance(answers, AsyncGenerator):
            await answers.aclose()


async def following(
    request: log_pb2.TailLogsRequest, on_lost: Callable[[], None]
) -> AsyncGenerator[log_pb2.TailLogsResponse, None]:
    """Batches of lines as they are written; each once, across restarts of the control plane."""
    async for answer in watching("LogService/TailLogs", request, on_lost, _resume_behind):
        yield cast("log_pb2.TailLogsResponse", answer)


def _resume_behind(request: log_pb2.TailLogsRequest, answer: log_pb2.TailLogsResponse) -> None:
    if answer.position and answer.lines:
        request.resume[answer.lines[0].source] = answer.position
