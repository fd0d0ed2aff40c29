"""Submit runs for some seconds; print, as JSON, what became of each acknowledged one."""

import asyncio
import json
import sys
import time

import callmesh as flyte
from callmesh import remote


async def main(seconds: float, pause: float, work: float) -> None:
    await flyte.init_from_config.aio()
    task = remote.Task.get("work.square", auto_version="latest")
    deadline = time.monotonic() + seconds
    handles = []
    number = 0
    while time.monotonic() < deadline:
        run = await flyte.run.aio(task, x=number, seconds=work)
        handles.append((number, run))
        if number == 0:
            print("started", flush=True)
        number += 1
        await asyncio.sleep(pause)
    told = []
    for number, run in handles:
        await run.wait.aio()
        outputs = await run.outputs.aio() if run.phase == "succeeded" else None
        told.append({"name": run.name, "x": number, "phase": str(run.phase.value),
                     "output": outputs[0] if outputs else None})  # fmt: skip
    print(json.dumps(told))


asyncio.run(main(*map(float, sys.argv[1:])))
