"""An app with long answers: a slow one, server-sent events, a WebSocket."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI, WebSocket
from fastapi.responses import StreamingResponse

import callmesh as flyte
from callmesh.app.extras import FastAPIAppEnvironment

VERSION = "one"
NAME = "streams"
MARKS = ""


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    yield
    if os.environ.get("MARKS"):
        Path(os.environ["MARKS"], os.environ["VERSION"]).write_text("lifespan ended")


app = FastAPI(lifespan=lifespan)
env = FastAPIAppEnvironment(
    name=NAME,
    app=app,
    env_vars={"VERSION": VERSION, "MARKS": MARKS},
    timeouts=flyte.app.Timeouts(drain=5),
    requires_auth=False,
)


@app.get("/")
async def version() -> str:
    return os.environ["VERSION"]


@app.get("/slow")
async def slow() -> str:
    await asyncio.sleep(2)
    return os.environ["VERSION"]


@app.get("/events")
async def events() -> StreamingResponse:
    async def ticks() -> AsyncIterator[str]:
        for number in range(1000):
            yield f"data: {os.environ['VERSION']} {number}\n\n"
            await asyncio.sleep(0.1)

    return StreamingResponse(ticks(), media_type="text/event-stream")


@app.websocket("/ws")
async def echo(socket: WebSocket) -> None:
    await socket.accept()
    while True:
        await socket.send_text(f"{os.environ['VERSION']} {await socket.receive_text()}")
