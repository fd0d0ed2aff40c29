"""An app that tells what reached it, counts its calls on disk, and dies when it is asked to."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

from fastapi import FastAPI, Request, WebSocket
from fastapi.responses import StreamingResponse

import callmesh as flyte
from callmesh.app.extras import FastAPIAppEnvironment

VERSION = "one"
NAME = "mirror"
MARKS = ""
REPLICAS = 1
AFFINITY = False

app = FastAPI()
env = FastAPIAppEnvironment(
    name=NAME,
    app=app,
    env_vars={"VERSION": VERSION, "MARKS": MARKS},
    scaling=flyte.app.Scaling(replicas=REPLICAS),
    session_affinity=AFFINITY,
    timeouts=flyte.app.Timeouts(drain=10),
    requires_auth=False,
)


def noted(kind: str) -> None:
    with Path(os.environ["MARKS"], kind).open("a") as file:
        file.write(f"{os.getpid()}\n")


@app.get("/")
async def who() -> dict[str, str]:
    return {"instance": os.environ["CALLMESH_INSTANCE_ID"], "version": os.environ["VERSION"]}


@app.post("/size")
async def size(request: Request) -> int:
    return sum([len(part) async for part in request.stream()])


@app.get("/header/{name}")
async def header(name: str, request: Request) -> int:
    return len(request.headers.get(name, ""))


@app.get("/slow")
async def slow() -> str:
    await asyncio.sleep(1.5)
    return os.environ["VERSION"]


@app.api_route("/hold", methods=["GET", "POST"])
async def hold(request: Request) -> str:
    """Answers once the file `go` exists: until then the call is in flight."""
    noted(request.method)
    while not Path(os.environ["MARKS"], "go").exists():
        await asyncio.sleep(0.02)
    return os.environ["VERSION"]


@app.get("/flood")
async def flood() -> StreamingResponse:
    async def parts() -> AsyncIterator[bytes]:
        for _ in range(1024):
            yield bytes(65536)

    return StreamingResponse(parts())


@app.websocket("/ws")
async def echo(socket: WebSocket) -> None:
    await socket.accept()
    while True:
        text = await socket.receive_text()
        await socket.send_text(f"{os.environ['VERSION']} {text}")
