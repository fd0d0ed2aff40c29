"""Tasks whose results are kept; each execution leaves a line in a file."""

import asyncio
from pathlib import Path

import callmesh as flyte

env = flyte.TaskEnvironment(name="kept")
always = flyte.TaskEnvironment(name="kept-all", cache="auto")


def note(log: str, text: str) -> None:
    with Path(log).open("a") as file:
        file.write(f"{text}\n")


@env.task(cache="auto")
async def double(x: int, log: str, by: int = 2) -> int:
    note(log, f"double {x}")
    return x * by


@env.task(cache=flyte.Cache("override", version_override="1", ignored_inputs="log"))
def named(data: dict[str, int], log: str) -> tuple[int, str]:
    note(log, "named")
    return sum(data.values()), "sum"


@env.task(cache=flyte.Cache("auto", max_age=1))
async def short(log: str) -> int:
    note(log, "short")
    return 1


@env.task(cache=flyte.Cache("auto", serialize=True, ignored_inputs=["log", "fail"]))
async def one_at_a_time(x: int, log: str, fail: int = 0) -> int:
    note(log, f"one {x}")
    await asyncio.sleep(1.5)
    if len(Path(log).read_text().splitlines()) <= fail:
        raise ValueError("not yet")
    return x * 10


@env.task
async def many(log: str) -> list[int]:
    return list(await asyncio.gather(*(one_at_a_time(3, log) for _ in range(4))))


@env.task(cache="auto")
async def fails(log: str) -> int:
    note(log, "fails")
    raise ValueError("no")


@env.task(cache="auto")
async def large(log: str) -> str:
    note(log, "large")
    return "x" * 11_000_000


@always.task
async def of_environment(log: str) -> int:
    note(log, "of_environment")
    return 1


@env.task
async def parent(log: str, times: int) -> list[int]:
    note(log, "parent")
    return [await double(5, log) for _ in range(times)]


@env.task
async def overriding(log: str) -> list[int]:
    fresh = double.override(cache="disable")
    kept = not_kept.override(cache="auto")
    return [await fresh(6, log), await fresh(6, log), await kept(log), await kept(log)]


@env.task
async def not_kept(log: str) -> int:
    note(log, "not_kept")
    return 1
