"""Tasks that fail: retried with backoff, given up at once, stopped when too slow.

Each attempt and its error is kept with the run: see its page.

    callmesh run examples/retries_and_timeouts.py call_until_answered --rings 3
    callmesh run examples/retries_and_timeouts.py oversleep --seconds 60
"""

import asyncio
from datetime import timedelta

import callmesh as flyte
from callmesh.errors import NonRecoverableError

weather = flyte.TaskEnvironment(
    name="patience",
    image=flyte.Image.from_debian_base(),
    resources=flyte.Resources(cpu=1, memory="128Mi"),
)

BACKOFF = flyte.Backoff(base=timedelta(milliseconds=100), factor=2, cap=timedelta(seconds=1))


@weather.task(retries=flyte.RetryStrategy(count=3, backoff=BACKOFF))
async def call_until_answered(rings: int) -> str:
    """Fails until attempt number `rings`; waits 0.1 s, 0.2 s, 0.4 s in between."""
    attempt = flyte.ctx().attempt_number
    print(f"attempt {attempt}")
    if attempt < rings:
        raise ConnectionError(f"no answer at attempt {attempt}")
    return f"answered at attempt {attempt}"


@weather.task(retries=3)
async def read_missing_page(page: int) -> str:
    """Trying again would not help, and the mesh is told so: one attempt."""
    raise NonRecoverableError(f"there is no page {page}")


@weather.task(timeout=flyte.Timeout(max_runtime=timedelta(seconds=1)))
async def oversleep(seconds: float) -> str:
    """Stopped after a second."""
    await asyncio.sleep(seconds)
    return "slept well"


if __name__ == "__main__":
    flyte.init_from_config()
    for task, argument in (
        (call_until_answered, {"rings": 3}),
        (read_missing_page, {"page": 404}),
        (oversleep, {"seconds": 60.0}),
    ):
        run = flyte.run(task, **argument)
        run.wait()
        print(task.name, run.phase, run.url)
