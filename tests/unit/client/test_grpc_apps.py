"""gRPC apps as declared, their server, and channels that open late."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from callmesh import _runtime
from callmesh._calls_aio import AioChannel
from callmesh._calls_sync import SyncChannel
from callmesh._grpc_server import serve
from callmesh.app import GrpcAppEnvironment

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "examples"))

from greetings.greetings_pb2 import GreetRequest, GreetResponse
from greetings.greetings_pb2_grpc import (
    GreeterServicer,
    GreeterStub,
    add_GreeterServicer_to_server,
)

PAIR = (add_GreeterServicer_to_server, GreeterServicer())


def left(context: Any) -> GreetResponse:
    remaining = context.time_remaining()
    return GreetResponse(text="none" if remaining is None else f"{remaining:.2f}")


class Nested(GreeterServicer):
    """Each method calls itself, once, through a channel of ours; says how long that one had."""

    def __init__(self, port: int) -> None:
        self.aio = GreeterStub(AioChannel(lambda: f"127.0.0.1:{port}"))
        self.sync = GreeterStub(SyncChannel(lambda: f"127.0.0.1:{port}"))

    async def Greet(self, request, context):
        if request.name == "inner":
            return left(context)
        return await self.aio.Greet(GreetRequest(name="inner"))

    async def GreetInTurn(self, request, context):
        yield await self.aio.Greet(GreetRequest(name="inner"))

    def GreetTogether(self, requests, context):
        list(requests)
        return self.sync.Greet(GreetRequest(name="inner"))

    def Chat(self, requests, context):
        for _ in requests:
            yield self.sync.Greet(GreetRequest(name="inner"))


@contextlib.asynccontextmanager
async def nested() -> AsyncIterator[GreeterStub]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    async with asyncio.TaskGroup() as tasks:
        serving = tasks.create_task(
            serve([(add_GreeterServicer_to_server, Nested(port))], port, 8, 1.0)
        )
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            await channel.channel_ready()
            yield GreeterStub(channel)
        serving.cancel()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"servicers": []}, "has no servicers"),
        ({"servicers": [GreeterServicer()]}, "pairs of a generated function"),
        ({"servicers": [("add", GreeterServicer())]}, "pairs of a generated function"),
        ({"servicers": [PAIR], "args": ["x"]}, "takes no `args` or `command`"),
        ({"servicers": [PAIR], "max_workers": 0}, "must be at least 1"),
    ],
)
def test_a_wrong_declaration_is_an_error(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises((TypeError, ValueError), match=said):
        GrpcAppEnvironment(name="greeter", **wrong)


async def test_a_deadline_caps_the_calls_that_are_made_under_it() -> None:
    def requests() -> list[GreetRequest]:
        return [GreetRequest(name="a")]

    async with nested() as stub:
        answers = [
            await stub.Greet(GreetRequest(), timeout=5),
            *[each async for each in stub.GreetInTurn(GreetRequest(), timeout=5)],
            await stub.GreetTogether(iter(requests()), timeout=5),
            *[each async for each in stub.Chat(iter(requests()), timeout=5)],
        ]
        assert len(answers) == 4
        assert all(1 < float(each.text) <= 5.1 for each in answers), answers
        assert (await stub.Greet(GreetRequest())).text == "none"


def test_an_attempts_limit_caps_its_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    from callmesh import _deadline

    assert _deadline.capped(None) is None
    assert _deadline.capped(3.0) == 3.0
    monkeypatch.setattr(_runtime, "deadline", lambda: _deadline.time.monotonic() + 2)
    assert 1 < (_deadline.capped(None) or 0) <= 2
    assert _deadline.capped(1.0) == 1.0
    monkeypatch.setattr(_runtime, "deadline", lambda: _deadline.time.monotonic() - 1)
    assert _deadline.capped(5.0) == 0.0


def test_a_channel_asks_for_its_target_when_it_is_needed() -> None:
    asked = []

    def target() -> str:
        asked.append(1)
        raise LookupError("not deployed")

    stub = GreeterStub(SyncChannel(target))
    assert not asked
    with pytest.raises(LookupError, match="not deployed"):
        stub.Greet(GreetRequest())
    aio = GreeterStub(AioChannel(target))
    assert len(asked) == 1

    async def call() -> None:
        await aio.Greet(GreetRequest())

    with pytest.raises(LookupError, match="not deployed"):
        asyncio.run(call())
