"""How runs are tried, told where they are, traced and mapped."""

import asyncio
import datetime
import os
import time
from pathlib import Path

import callmesh as flyte

env = flyte.TaskEnvironment(name="control")


def note(log: str, text: object) -> None:
    with Path(log).open("a") as file:
        file.write(f"{text}\n")


@env.task(retries=flyte.RetryStrategy(2, flyte.Backoff(datetime.timedelta(seconds=0.2))))
async def flaky(log: str) -> int:
    context = flyte.ctx()
    note(log, f"{context.attempt_number} {context.idempotency_key} {time.time()}")
    if context.attempt_number < 3:
        raise ValueError("again")
    return context.attempt_number


@env.task(retries=5)
async def hopeless(log: str) -> int:
    note(log, "hopeless")
    raise flyte.errors.NonRecoverableError("no way")


@env.task(timeout=0.5)
async def slow() -> None:
    await asyncio.sleep(30)


@env.task(timeout=flyte.Timeout(deadline=datetime.timedelta(seconds=0.5)))
async def late() -> None:
    await asyncio.sleep(30)


@env.task
def sync_child() -> None: ...


@env.task
async def child() -> dict:
    context = flyte.ctx()
    return {
        "custom": dict(flyte.get_custom_context()),
        "variable": os.environ.get("FROM_RUN"),
        "own": os.environ.get("OWN"),
        "mode": context.mode,
        "task": context.task,
        "cluster": context.is_in_cluster(),
        "project": context.action.project,
    }


@env.task
async def parent() -> dict:
    with flyte.group("first"), flyte.custom_context(b="2"):
        found = await child.override(env_vars={"OWN": "here"})()
    try:
        sync_child()
    except flyte.errors.SyncTaskCallInAsyncContextError as problem:
        refused = str(problem)
    return {"child": found, "after": dict(flyte.get_custom_context()), "refused": refused}


@flyte.trace
async def step(log: str, x: int) -> dict[int, datetime.date]:
    note(log, f"step {x}")
    return {x: datetime.date(2026, 1, x)}


@flyte.trace
def sync_step(log: str) -> list[int]:
    note(log, "sync_step")
    return [1]


@flyte.trace
async def failing(log: str) -> None:
    note(log, "failing")
    raise KeyError("gone")


@flyte.trace
async def counting(n: int):
    for i in range(n):
        yield i


@flyte.trace
async def nesting() -> dict:
    return await child()


@env.task(retries=1)
async def traced(log: str) -> list:
    first = await asyncio.gather(step(log, 1), step(log, 2), step(log, 1))
    second = await asyncio.to_thread(sync_step, log)
    try:
        await failing(log)
    except KeyError:
        note(log, "caught")
    begun = await flyte.durable.time.aio()
    await flyte.durable.sleep.aio(0.5)
    slept = time.time() - begun
    if flyte.ctx().attempt_number == 1:
        raise ValueError("again")
    try:
        await nesting()
    except flyte.errors.TraceDoesNotAllowNestedTasksError as problem:
        refused = str(problem)
    return [first, second, [i async for i in counting(3)], slept > 0.5, refused]


@env.task
async def square(x: int) -> int:
    if x == 2:
        raise ValueError("two")
    return x * x


@env.task
async def mapped() -> list[str]:
    results = [result async for result in flyte.map.aio(square, [1, 2, 3])]
    told = [str(type(result).__name__) for result in results]
    try:
        sum(results)
    except flyte.errors.RuntimeUserError as problem:
        told.append(f"{problem.code}: {problem.message}")
    return told
