"""Two dependent apps for the figures: `bench-front` calls `bench-back`."""

import asyncio
import time

import httpx
from fastapi import FastAPI

import callmesh as flyte
from callmesh.app.extras import FastAPIAppEnvironment

back = FastAPI()
front = FastAPI()
back_env = FastAPIAppEnvironment(name="bench-back", app=back, requires_auth=False)
front_env = FastAPIAppEnvironment(
    name="bench-front", app=front, depends_on=[back_env], requires_auth=False
)
task_env = flyte.TaskEnvironment(name="bench")


@back.get("/")
async def answer() -> dict:
    return {"ok": True}


@front.get("/")
async def through() -> dict:
    async with httpx.AsyncClient(trust_env=False) as client:
        return (await client.get(f"{back_env.endpoint}/")).json()


@front.get("/measure")
async def measure(url: str, calls: int, callers: int) -> list[float]:
    """Durations of ``calls`` GETs by ``callers`` at once; the last is the whole time."""
    durations: list[float] = []
    began = time.perf_counter()

    async def call(client: httpx.AsyncClient) -> None:
        for _ in range(calls // callers):
            start = time.perf_counter()
            (await client.get(url)).raise_for_status()
            durations.append(time.perf_counter() - start)

    limits = httpx.Limits(max_connections=callers, max_keepalive_connections=callers)
    async with httpx.AsyncClient(trust_env=False, limits=limits) as client:
        await client.get(url)
        began = time.perf_counter()
        await asyncio.gather(*(call(client) for _ in range(callers)))
    return [*durations, time.perf_counter() - began]


@task_env.task
def nothing(x: int) -> int:
    return x
