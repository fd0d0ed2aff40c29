"""Tasks that take as long as they are told, one of them in a child run."""

import asyncio

import callmesh as flyte

env = flyte.TaskEnvironment(name="pausing")


@env.task
async def pause(seconds: float) -> float:
    await asyncio.sleep(seconds)
    return seconds


@env.task
async def parent(seconds: float) -> float:
    return await pause(seconds)
