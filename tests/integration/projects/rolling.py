"""An app that is replaced again and again under every kind of call."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI, Request, WebSocket
from fastapi.responses import StreamingResponse

import callmesh as flyte
from callmesh.app.extras import FastAPIAppEnvironment

NAME = "rolling"
VERSION = "0"
BEHAVIOUR = "good"
REPLICAS = "3"
STARTUP = "60"
# Where each instance writes down the POSTs that it was given.
MARKS = ""

BROKEN = os.environ.get("BEHAVIOUR", "good")
if BROKEN == "does not import":
    raise OSError("cannot find the flux capacitor")


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    if BROKEN == "crashes after its start":
        await asyncio.sleep(0.2)
        os.kill(os.getpid(), signal.SIGKILL)
    if BROKEN == "is never ready":
        await asyncio.sleep(60)
    yield


app = FastAPI(lifespan=lifespan)
common = {
    "name": NAME,
    "env_vars": {"VERSION": VERSION, "BEHAVIOUR": BEHAVIOUR, "MARKS": MARKS},
    "secrets": [flyte.Secret("word", mount="/etc/flyte/secrets")],
    "scaling": flyte.app.Scaling(replicas=(int(REPLICAS), int(REPLICAS))),
    "timeouts": flyte.app.Timeouts(startup=int(STARTUP), drain=5),
    "requires_auth": False,
}
if BEHAVIOUR == "binds no port":
    env: flyte.app.AppEnvironment = flyte.app.AppEnvironment(args=["sleep", "60"], **common)
else:
    env = FastAPIAppEnvironment(app=app, **common)


@app.get("/health")
async def health() -> str:
    return "well"


@app.get("/")
async def version() -> str:
    return os.environ["VERSION"]


@app.get("/key")
async def key() -> str:
    return flyte.secret_file("word").read_text()


@app.post("/")
async def note(request: Request) -> str:
    content = (await request.body()).decode()
    with Path(os.environ["MARKS"], str(os.getpid())).open("a") as file:
        file.write(f"{content}\n")
    return content


@app.get("/slow")
async def slow() -> str:
    await asyncio.sleep(2)
    return os.environ["VERSION"]


@app.get("/events")
async def events(count: int) -> StreamingResponse:
    async def ticks() -> AsyncIterator[str]:
        for number in range(count):
            yield f"data: {number}\n\n"
            await asyncio.sleep(0.1)

    return StreamingResponse(ticks(), media_type="text/event-stream")


@app.websocket("/ws")
async def echo(socket: WebSocket) -> None:
    await socket.accept()
    while True:
        await socket.send_text(f"{os.environ['VERSION']} {await socket.receive_text()}")
