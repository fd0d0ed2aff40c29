"""A steady load of runs, as a process: `runner.py FILE`; a line of JSON each (`caller.Call`).

A run is acknowledged once it has a name.
"""

from __future__ import annotations

import json
import random
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import TextIO

from caller import Call

import callmesh as flyte
from callmesh import remote
from callmesh.errors import BaseRuntimeError
from callmesh_wire.errors import CallmeshError

CLIENTS = 3
LENGTHS = (0.0, 0.05, 0.3, 1.5)


def submit(task: remote.TaskDetails, first: int, file: TextIO) -> None:
    """One client: a run at a time, each with a number of its own."""
    dice = random.Random(first)
    for number in range(first, first + 1_000_000):
        began = time.monotonic()
        name = why = ""
        try:
            run = flyte.run(task, x=number, seconds=dice.choice(LENGTHS))
            name = run.name
            result = run.outputs()[0]
            why = "" if result == 2 * number else f"{result} is not twice {number}"
        except (BaseRuntimeError, CallmeshError) as problem:
            why = repr(problem)
        call = Call("run", "server", began, time.monotonic(), name, why, str(number))
        file.write(json.dumps(asdict(call)) + "\n")
        time.sleep(0.05)


def main(path: str) -> None:
    flyte.init_from_config()
    task = remote.Task.get("work.double", auto_version="latest")
    with Path(path).open("a", buffering=1) as file:
        threads = [
            threading.Thread(target=submit, args=(task, 1_000_000 * client, file))
            for client in range(1, CLIENTS + 1)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


if __name__ == "__main__":
    main(sys.argv[1])
