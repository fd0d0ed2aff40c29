"""A gRPC app, called by name from a task and from another app.

The stubs are made by the usual compiler from greetings/greetings.proto. Calls
are balanced one by one over the instances, and end no later than whoever makes
them.

    callmesh deploy examples/grpc_greeter.py
    callmesh run deployed-task greet_everybody --names '["Ada", "Grace"]'
    callmesh call reception '/arrival?name=Ada&language=fr'
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc
from fastapi import FastAPI
from greetings.greetings_pb2 import GreetRequest, GreetResponse
from greetings.greetings_pb2_grpc import (
    GreeterServicer,
    GreeterStub,
    add_GreeterServicer_to_server,
)

import callmesh as flyte
from callmesh.app.extras import FastAPIAppEnvironment

HELLO = {"en": "Hello", "fr": "Bonjour", "de": "Guten Tag"}
image = flyte.Image.from_debian_base().with_pip_packages("fastapi", "uvicorn")


class Greeter(GreeterServicer):
    """Async methods here; sync ones work as well, in threads."""

    async def Greet(self, request: GreetRequest, context: grpc.aio.ServicerContext):
        language = request.language or "en"
        if language not in HELLO:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"nobody here speaks {language}")
        return GreetResponse(text=f"{HELLO[language]}, {request.name}!")

    async def GreetInTurn(
        self, request: GreetRequest, _context: grpc.aio.ServicerContext
    ) -> AsyncIterator[GreetResponse]:
        for hello in HELLO.values():
            yield GreetResponse(text=f"{hello}, {request.name}!")

    def GreetTogether(self, requests, _context) -> GreetResponse:
        return GreetResponse(text=f"Hello, {' and '.join(each.name for each in requests)}!")

    async def Chat(self, requests, _context) -> AsyncIterator[GreetResponse]:
        async for each in requests:
            yield GreetResponse(text=f"{HELLO['en']}, {each.name}!")


greeter_env = flyte.app.GrpcAppEnvironment(
    name="greeter",
    servicers=[(add_GreeterServicer_to_server, Greeter())],
    requires_auth=False,
)
greeter = flyte.stub(GreeterStub, "greeter")
tasks = flyte.TaskEnvironment(name="greetings", image=image, depends_on=[greeter_env])


@tasks.task
def greet_everybody(names: list[str]) -> list[str]:
    return [greeter.Greet(GreetRequest(name=each)).text for each in names]


app = FastAPI()
reception_env = FastAPIAppEnvironment(
    name="reception", app=app, image=image, requires_auth=False, depends_on=[greeter_env]
)
async_greeter = flyte.stub.aio(GreeterStub, "greeter")


@app.get("/arrival")
async def arrival(name: str, language: str = "en") -> dict[str, str]:
    answer = await async_greeter.Greet(GreetRequest(name=name, language=language), timeout=5)
    return {"said": answer.text}
