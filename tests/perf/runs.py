"""Measured inside a user's process: runs through the SDK. Prints JSON.

``runs.py warm N``: seconds of N warm runs, one after the other.
``runs.py first FILE``: seconds of the first run of a file's task `fresh`.
"""

import importlib.util
import json
import sys
import time
from pathlib import Path

import callmesh as flyte
from callmesh import remote


def warm(count: int) -> list[float]:
    task = remote.Task.get("bench.nothing", auto_version="latest")
    durations = []
    for number in range(count + 20):
        began = time.perf_counter()
        run = flyte.run(task, x=number)
        assert run.outputs()[0] == number
        durations.append(time.perf_counter() - began)
    return durations[20:]


def first(path: str) -> list[float]:
    spec = importlib.util.spec_from_file_location(Path(path).stem, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    began = time.perf_counter()
    spec.loader.exec_module(module)
    imports = time.perf_counter() - began
    began = time.perf_counter()
    run = flyte.run(module.fresh, x=1)
    assert run.outputs()[0] == 1
    return [time.perf_counter() - began, imports]


flyte.init_from_config(root_dir=Path(sys.argv[2]).parent if sys.argv[1] == "first" else None)
if sys.argv[1] == "warm":
    print(json.dumps(warm(int(sys.argv[2]))))
else:
    print(json.dumps(first(sys.argv[2])))
