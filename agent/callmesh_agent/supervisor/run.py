"""The supervisor's process, from its arguments to its end.

Runs until it is told to end everything (a request, or TERM). A second one for
the same folder refuses. Started by `launch`, it inherits the folder's lock and
the listening socket as `--lock-fd` and `--listen-fd`.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import sys
from pathlib import Path

from callmesh_agent.supervisor import launch, proc
from callmesh_agent.supervisor.serve import serve

USAGE = "usage: python -m callmesh_agent.supervisor --socket PATH --state DIR"
REFUSED = 3


def run(arguments: list[str]) -> int:
    """Run a supervisor. 2: wrong usage, 3: another one is running."""
    options = dict(zip(arguments[::2], arguments[1::2], strict=False))
    if not {"--socket", "--state"} <= options.keys() or len(arguments) % 2:
        sys.stderr.write(USAGE + "\n")
        return 2
    path, state = Path(options["--socket"]), Path(options["--state"])
    umask = os.umask(0o077)
    if os.getpid() != os.getsid(0):
        os.setsid()
    # Children would inherit signals that a shell had made us ignore.
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    logging.basicConfig(
        format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO, stream=sys.stderr
    )
    try:
        held = launch.Held.inherited(options) or launch.hold(path, state)
    except launch.AlreadyRunning as problem:
        sys.stderr.write(f"error: {problem}\n")
        return REFUSED
    held.write_pid(os.getpid())
    proc.become_subreaper()
    gc.freeze()
    asyncio.run(serve(held.listener, state, umask))
    path.unlink(missing_ok=True)
    held.lock_path.unlink(missing_ok=True)
    return 0
