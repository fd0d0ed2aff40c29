"""Apps and tasks that say on which node they are, and call one another."""

import asyncio
import hashlib
import os
import time
from collections.abc import AsyncIterator

import httpx
from fastapi import FastAPI, Request, WebSocket
from fastapi.responses import StreamingResponse

import callmesh as flyte
from callmesh.app.extras import FastAPIAppEnvironment

SECRETS = [flyte.Secret(key="word", as_env_var="WORD")]


def node() -> str:
    return os.environ["CALLMESH_NODE"]


def digest() -> str:
    return hashlib.sha256(os.environ["WORD"].encode()).hexdigest()[:8]


app = FastAPI()
lone = FastAPIAppEnvironment(name="lone", app=app, secrets=SECRETS, requires_auth=False)
spread = FastAPIAppEnvironment(
    name="spread",
    app=app,
    secrets=SECRETS,
    scaling=flyte.app.Scaling(replicas=(3, 3)),
    requires_auth=False,
)
seven = FastAPIAppEnvironment(
    name="seven", app=app, secrets=SECRETS, scaling=flyte.app.Scaling(replicas=7),
    requires_auth=False,
)  # fmt: skip
env = flyte.TaskEnvironment(name="sharing", secrets=SECRETS)
wide = flyte.TaskEnvironment(name="wide", resources=flyte.Resources(memory="900Ti"))


@app.get("/")
async def here() -> dict:
    print(f"called on {node()}", flush=True)
    return {"node": node(), "word": digest()}


@app.post("/body")
async def body(request: Request) -> dict:
    content = await request.body()
    return {"node": node(), "size": len(content), "sum": hashlib.sha256(content).hexdigest()}


@app.get("/events")
async def events() -> StreamingResponse:
    async def ticks() -> AsyncIterator[str]:
        for number in range(5):
            yield f"data: {node()} {number}\n\n"
            await asyncio.sleep(0.05)

    return StreamingResponse(ticks(), media_type="text/event-stream")


@app.websocket("/ws")
async def echo(socket: WebSocket) -> None:
    await socket.accept()
    while True:
        await socket.send_text(f"{node()} {await socket.receive_text()}")


@app.get("/start")
async def start(times: int) -> dict:
    """App to task: runs that take a second, at once."""
    found = await asyncio.gather(*(flyte.run.aio(where, seconds=1.0) for _ in range(times)))
    for each in found:
        await each.wait.aio()
    return {"node": node(), "tasks": [(await each.outputs.aio())[0] for each in found]}


@env.task
def where(seconds: float) -> str:
    print(f"task on {node()}", flush=True)
    time.sleep(seconds)
    return node()


@env.task
def told() -> list[str]:
    return [node(), digest()]


@env.task
async def ask(seconds: float) -> list[str]:
    """Task to app: this node, and that of the app."""
    async with httpx.AsyncClient() as client:
        answer = await client.get(f"{lone.endpoint}/")
        answer.raise_for_status()
    await asyncio.sleep(seconds)
    return [node(), answer.json()["node"]]


@env.task
async def asks(times: int) -> list[list[str]]:
    return list(await asyncio.gather(*(ask(1.0) for _ in range(times))))


@env.task
async def family(times: int, seconds: float = 1.0) -> list[str]:
    """Task to task: this node first, then those of its children."""
    return [node(), *await asyncio.gather(*(where.aio(seconds) for _ in range(times)))]


@env.task
def large(size: int) -> str:
    return node() + " " + "x" * size


@env.task
def length(text: str, number: int) -> list:
    """``number`` makes each call another one."""
    time.sleep(1)
    return [node(), len(text)]


@env.task
async def lengths(size: int, times: int) -> list[list]:
    text = await large.aio(size)
    return list(await asyncio.gather(*(length.aio(text, each) for each in range(times))))


@env.task
def counted(n: int) -> int:
    for number in range(n):
        print("line", number, node(), flush=True)
        time.sleep(0.05)
    return n


@wide.task
def too_wide() -> int:
    return 1
