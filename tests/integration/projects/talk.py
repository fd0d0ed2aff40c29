"""A gRPC app whose instances say who they are, one behind it, and tasks that call them.

Deployed from a folder that holds `greetings` of the examples too.
"""

from __future__ import annotations

import os
import threading
import time

import grpc
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2
from greetings.greetings_pb2 import GreetRequest, GreetResponse
from greetings.greetings_pb2_grpc import (
    GreeterServicer,
    GreeterStub,
    add_GreeterServicer_to_server,
)

import callmesh as flyte

relayed = flyte.stub.aio(GreeterStub, "talk")
direct = flyte.stub(GreeterStub, "talk")


def me() -> str:
    return os.environ["CALLMESH_INSTANCE_ID"]


def left(context) -> str:
    remaining = context.time_remaining()
    return "none" if remaining is None else f"{remaining:.3f}"


class Talk(GreeterServicer):
    """Async methods, and a sync one."""

    async def Greet(self, request, context):
        match request.name:
            case "wrong":
                detail = any_pb2.Any()
                detail.Pack(error_details_pb2.ErrorInfo(reason="WRONG", domain="talk"))
                status = status_pb2.Status(code=3, message="wrong name", details=[detail])
                await context.abort(
                    grpc.StatusCode.INVALID_ARGUMENT,
                    "wrong name",
                    trailing_metadata=(("grpc-status-details-bin", status.SerializeToString()),),
                )
            case "metadata":
                given = dict(context.invocation_metadata())
                await context.send_initial_metadata((("x-answer", given.get("x-asked", "")),))
                context.set_trailing_metadata((("x-last", me()),))
                return GreetResponse(text=given.get("x-asked", ""))
            case "deadline":
                return GreetResponse(text=left(context))
        return GreetResponse(text=me())

    async def GreetInTurn(self, request, context):
        for number in range(int(request.name or "3")):
            yield GreetResponse(text=f"{number} {me()}")

    def GreetTogether(self, requests, context):
        names = [each.name for each in requests]
        return GreetResponse(text=f"{threading.current_thread().name[:4]} {'+'.join(names)}")

    async def Chat(self, requests, context):
        async for each in requests:
            yield GreetResponse(text=f"{each.name} {me()}")


class Relay(GreeterServicer):
    """Passes on to `talk`, without a timeout of its own."""

    async def Greet(self, request, context):
        own = left(context)
        answer = await relayed.Greet(request)
        return GreetResponse(text=f"{own} {answer.text}")

    def GreetTogether(self, requests, context):
        return direct.Greet(next(requests))


scaling = flyte.app.Scaling(replicas=(3, 3))
env = flyte.app.GrpcAppEnvironment(
    name="talk",
    servicers=[(add_GreeterServicer_to_server, Talk())],
    scaling=scaling,
    requires_auth=False,
    env_vars={"TURN": os.environ.get("TURN", "")},
)
relay = flyte.app.GrpcAppEnvironment(
    name="relay",
    servicers=[(add_GreeterServicer_to_server, Relay())],
    requires_auth=False,
    depends_on=[env],
)
tasks = flyte.TaskEnvironment(name="talks", depends_on=[env])


@tasks.task(timeout=20)
def ask(name: str, times: int = 1) -> list[str]:
    return [direct.Greet(GreetRequest(name=name)).text for _ in range(times)]


@tasks.task
async def converse(names: list[str]) -> dict[str, list[str]]:
    stub = flyte.stub.aio(GreeterStub, "talk")

    async def requests():
        for each in names:
            yield GreetRequest(name=each)

    return {
        "unary": [(await stub.Greet(GreetRequest())).text],
        "turns": [each.text async for each in stub.GreetInTurn(GreetRequest(name="3"))],
        "together": [(await stub.GreetTogether(requests())).text],
        "chat": [each.text async for each in stub.Chat(requests())],
    }


@tasks.task
def converse_sync(names: list[str]) -> dict[str, list[str]]:
    requests = [GreetRequest(name=each) for each in names]
    return {
        "unary": [direct.Greet(GreetRequest()).text],
        "turns": [each.text for each in direct.GreetInTurn(GreetRequest(name="3"))],
        "together": [direct.GreetTogether(iter(requests)).text],
        "chat": [each.text for each in direct.Chat(iter(requests))],
    }


@tasks.task
def keep_asking(seconds: float) -> dict[str, int]:
    """How often each instance answered, and how many calls failed, by status."""
    found: dict[str, int] = {}
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            said = direct.Greet(GreetRequest(), timeout=10).text
        except grpc.RpcError as problem:
            said = f"failed: {problem.code().name} {problem.details()}"
        found[said] = found.get(said, 0) + 1
        time.sleep(0.005)
    return found
