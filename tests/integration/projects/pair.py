"""An app with two instances, and one in front of it that calls it."""

import os

import httpx
from fastapi import FastAPI

import callmesh as flyte
from callmesh.app.extras import FastAPIAppEnvironment

pair = FastAPI()
front = FastAPI()

pair_env = FastAPIAppEnvironment(
    name="pair", app=pair, scaling=flyte.app.Scaling(replicas=2), requires_auth=False
)
front_env = FastAPIAppEnvironment(
    name="front", app=front, depends_on=[pair_env], requires_auth=False
)
client = httpx.AsyncClient()


@pair.get("/")
async def who() -> dict:
    return {"pid": os.getpid(), "instance": os.environ["CALLMESH_INSTANCE_ID"]}


@front.get("/")
async def through() -> dict:
    answer = await client.get(f"{pair_env.endpoint}/")
    answer.raise_for_status()
    return {"front": os.getpid(), **answer.json()}
