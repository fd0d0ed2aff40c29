"""What a caller does with a run: watch it, wait for it, read it, abort it.

`wait` returns when the run has ended, however it did; `outputs` raises if it
failed. An aborted run stops where it is.

    python examples/run_handles.py
"""

import asyncio
import time

import callmesh as flyte
import callmesh.remote as remote

trips = flyte.TaskEnvironment(
    name="trips",
    image=flyte.Image.from_debian_base(),
    resources=flyte.Resources(cpu=1, memory="128Mi"),
)


@trips.task
def walk(steps: int) -> int:
    """A task may be a plain function, too."""
    for step in range(1, steps + 1):
        time.sleep(0.1)
        print(f"step {step} of {steps}")
    return steps


async def follow(run: remote.Run) -> None:
    async for update in run.watch():
        print(f"{run.name} is {update.phase}")


if __name__ == "__main__":
    flyte.init_from_config()
    short = flyte.run(walk, steps=3)
    asyncio.run(follow(short))
    short.wait()
    print("walked", short.outputs()[0], "steps")

    long = flyte.run(walk, steps=10_000)
    long.wait(wait_for="running")
    long.abort("it rains")
    long.wait()
    print(long.name, "is", long.phase)
