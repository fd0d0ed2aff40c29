"""An app for steady load of every kind, with one instance, and a heavy one."""

import asyncio
import os

from fastapi import FastAPI, Request, WebSocket

import callmesh as flyte
from callmesh.app.extras import FastAPIAppEnvironment

app = FastAPI()
env = FastAPIAppEnvironment(
    name="steady", app=app, timeouts=flyte.app.Timeouts(drain=6), requires_auth=False
)


@app.get("/")
async def who() -> str:
    return os.environ["CALLMESH_NODE"]


@app.post("/echo")
async def echo(request: Request) -> str:
    return (await request.body()).decode()


@app.get("/slow")
async def slow() -> str:
    await asyncio.sleep(1.5)
    return os.environ["CALLMESH_NODE"]


@app.websocket("/ws")
async def talk(socket: WebSocket) -> None:
    await socket.accept()
    while True:
        await socket.send_text(await socket.receive_text())
