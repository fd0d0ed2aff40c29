"""Streams of states that outlive a connection: they resume where they were."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from typing import cast

from google.protobuf.message import Message

from callmesh._transport import jittered, transport
from callmesh_wire.errors import UnavailableError
from callmeshpb.v1 import common_pb2, scheduler_pb2

OnAway = Callable[[UnavailableError], None]


def quiet(_: UnavailableError) -> None:
    """Say nothing about a control plane that is away."""


async def app_states(
    scope: common_pb2.Scope, name: str, on_away: OnAway = quiet
) -> AsyncGenerator[scheduler_pb2.WatchAppResponse, None]:
    """An app now and at every change; ends with its deletion.

    While the control plane is away the stream waits, after telling ``on_away``.
    """
    request = scheduler_pb2.WatchAppRequest(scope=scope, name=name)
    async for message in _resuming("SchedulerService/WatchApp", request, on_away):
        answer = cast("scheduler_pb2.WatchAppResponse", message)
        yield answer
        if answer.deleted:
            return


async def run_states(
    name: str, is_final: Callable[[scheduler_pb2.Run], bool], on_away: OnAway = quiet
) -> AsyncGenerator[scheduler_pb2.Run, None]:
    """A run now and at every change; ends with its end."""
    request = scheduler_pb2.WatchRunRequest(name=name)
    async for message in _resuming("SchedulerService/WatchRun", request, on_away):
        run = cast("scheduler_pb2.WatchRunResponse", message).run
        yield run
        if is_final(run):
            return


async def _resuming(
    method: str, request: Message, on_away: OnAway
) -> AsyncGenerator[Message, None]:
    failures, seen, began = 0, False, time.monotonic()
    while True:
        way = transport()
        try:
            async for message in way.stream(method, request):
                failures, seen = 0, True
                yield message
        except UnavailableError as problem:
            if not seen and time.monotonic() - began > way.patience:
                raise
            on_away(problem)
        await asyncio.sleep(jittered(failures))
        failures += 1
