"""Tasks that take a while and write down that they were executed."""

import asyncio
import os
from pathlib import Path

import callmesh as flyte

env = flyte.TaskEnvironment(name="work")


@env.task
async def square(x: int, seconds: float = 0.0) -> int:
    await asyncio.sleep(seconds)
    return x * x


@env.task
def marked(folder: str, key: str, seconds: float) -> int:
    """Append this process to a file per key, sleep, append again."""
    import time

    path = Path(folder) / key
    with path.open("a") as file:
        file.write(f"start {os.getpid()} {flyte.ctx().attempt_number}\n")
    time.sleep(seconds)
    with path.open("a") as file:
        file.write(f"end {os.getpid()}\n")
    return os.getpid()
