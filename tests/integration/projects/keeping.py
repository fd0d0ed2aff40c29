"""An app that shows its secrets and endpoints, and tasks that take a while."""

import asyncio
import os
import time

import httpx
from fastapi import FastAPI

import callmesh as flyte
from callmesh.app.extras import FastAPIAppEnvironment

SECRETS = [flyte.Secret(key="word", as_env_var="WORD")]
kept = FastAPI()
front = FastAPI()
kept_env = FastAPIAppEnvironment(
    name="kept",
    app=kept,
    env_vars={"COLOUR": "blue"},
    secrets=SECRETS,
    requires_auth=False,
)
front_env = FastAPIAppEnvironment(
    name="front", app=front, depends_on=[kept_env], requires_auth=False
)
env = flyte.TaskEnvironment(name="keeping", secrets=SECRETS)
client = httpx.AsyncClient()


@kept.get("/")
async def show() -> dict:
    return {
        "pid": os.getpid(),
        "instance": os.environ["CALLMESH_INSTANCE_ID"],
        "colour": os.environ["COLOUR"],
        "word": os.environ["WORD"],
    }


@front.get("/")
async def through() -> dict:
    answer = await client.get(f"{kept_env.endpoint}/")
    answer.raise_for_status()
    return {"front": os.getpid(), **answer.json()}


@env.task
def nap(seconds: float) -> str:
    time.sleep(seconds)
    return os.environ["WORD"]


@env.task
async def twice(seconds: float) -> list[str]:
    """Sleep, and then call tasks, as code does that knows of no outage."""
    await asyncio.sleep(seconds)
    return list(await asyncio.gather(nap.aio(0.1), nap.aio(0.2)))


@env.task
def weigh(file: flyte.io.File, number: int) -> int:
    """Read it; ``number`` makes each call another one."""
    with file.open_sync() as opened:
        return len(opened.read())


@env.task
async def weigh_often(file: flyte.io.File, times: int) -> list[int]:
    return list(await asyncio.gather(*(weigh.aio(file, each) for each in range(times))))
