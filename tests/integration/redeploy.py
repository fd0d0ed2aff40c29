"""A program: deploys a changed app again and again, as fast as each is ready.

`python redeploy.py FILE FIRST COUNT` gives the app of FILE, called `env`, the
versions FIRST, FIRST + 1, …, each with another line of code, and prints one line
of JSON after each: its version, how long it took, and where its instances are.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import time
from pathlib import Path
from typing import Any

import callmesh
from callmesh.remote import App


def load(file: Path) -> Any:
    """The module of a file."""
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[file.stem] = module
    sys.path.insert(0, str(file.parent))
    spec.loader.exec_module(module)
    return module


def main(file: Path, first: int, count: int) -> None:
    """Deploy ``count`` times."""
    callmesh.init_from_config()
    env = load(file).env
    code = file.read_text()
    for number in range(first, first + count):
        file.write_text(f"{code}\n# {number}\n")
        began = time.monotonic()
        callmesh.with_servecontext(env_vars={"VERSION": str(number)}).serve(env)
        took = time.monotonic() - began
        app = App.get(env.name).pb2
        nodes = [each.node for each in app.instances if each.revision == app.serving_revision]
        print(json.dumps({"version": number, "took": took, "nodes": nodes}), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
