"""What the killer's load calls: an app on every node, and a task."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

from fastapi import FastAPI, Request, WebSocket, WebSocketDisconnect

import callmesh as flyte
from callmesh.app.extras import FastAPIAppEnvironment

api = FastAPI()
target = FastAPIAppEnvironment(
    name="target",
    app=api,
    requires_auth=False,
    scaling=flyte.app.Scaling(replicas=(6, 6)),
    # Where the ids of POSTs are kept, a line for each time that one was executed.
    env_vars={"TAKEN": os.environ.get("TAKEN", "/dev/null")},
)
work = flyte.TaskEnvironment(name="work")
ME = os.environ.get("CALLMESH_INSTANCE_ID", "")


@api.get("/")
async def root() -> dict[str, str]:
    return {"instance": ME}


@api.get("/slow")
async def slow(seconds: float) -> dict[str, str]:
    await asyncio.sleep(seconds)
    return {"instance": ME}


@api.post("/take")
async def take(request: Request) -> dict[str, str]:
    told = await request.body()
    with Path(os.environ["TAKEN"]).open("ab", buffering=0) as file:
        file.write(told + b"\n")
    await asyncio.sleep(0.02)
    return {"instance": ME}


@api.websocket("/echo")
async def echo(socket: WebSocket) -> None:
    await socket.accept()
    await socket.send_text(ME)
    try:
        while True:
            await socket.send_text(await socket.receive_text())
    except WebSocketDisconnect:
        pass


@work.task
def double(x: int, seconds: float) -> int:
    time.sleep(seconds)
    return 2 * x
