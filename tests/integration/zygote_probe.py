"""A base zygote whose workloads do what their `PROBE` says, instead of serving.

Run as a script in place of `python -m callmesh._zygote`. A workload writes one
line of JSON about itself, evaluates `PROBE`, and waits or ends.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
import types
from pathlib import Path

from callmesh import _zygote
from callmeshpb.v1 import workload_pb2


def main(start: workload_pb2.WorkloadStart) -> int:
    """A workload's life."""
    facts = {
        "at": time.time(),
        "pid": os.getpid(),
        "parent": os.getppid(),
        "session": os.getsid(0),
        "role": start.WhichOneof("role"),
        "listen_fd": start.app.listen_fd,
        "environment": dict(os.environ),
        "directory": str(Path.cwd()),
        "first_path": sys.path[0],
        "random": random.random(),
        "term_is_default": signal.getsignal(signal.SIGTERM) is signal.SIG_DFL,
        "descriptors": _descriptors(),
        "value": eval(os.environ.get("PROBE", "None")),
    }
    print(json.dumps(facts))
    if "EXIT" in os.environ:
        return int(os.environ["EXIT"])
    while True:
        signal.pause()


def _descriptors() -> dict[str, str]:
    folder = Path("/proc/self/fd")
    return {path.name: str(path.readlink()) for path in folder.iterdir() if path.is_symlink()}


if __name__ == "__main__":
    for role in ("callmesh.serve", "callmesh.execute"):
        module = types.ModuleType(role)
        module.main = main  # type: ignore[attr-defined]
        sys.modules[role] = module
    sys.exit(_zygote.main())
