"""A workload's process: how it is told what to be, and how it ends."""

from __future__ import annotations

import base64
import contextlib
import io
import os
import signal
import sys
import threading
from collections.abc import Mapping

from callmeshpb.v1 import workload_pb2

TERMINATED = 128 + signal.SIGTERM
START_VARIABLE = "CALLMESH_START"


class Terminated(SystemExit):
    """Raised in the main thread by SIGTERM, so that the user's ``finally`` blocks run."""

    def __init__(self) -> None:
        super().__init__(TERMINATED)


def start_from(environ: Mapping[str, str]) -> workload_pb2.WorkloadStart:
    """What a spawned workload is told by its parent. Ends the process without it."""
    encoded = environ.get(START_VARIABLE, "")
    if not encoded:
        sys.exit(f"error: `{START_VARIABLE}` is not set: a node's agent starts this, not a person")
    start = workload_pb2.WorkloadStart.FromString(base64.b64decode(encoded))
    if start.workdir:
        os.chdir(start.workdir)
    return start


def line_buffered() -> None:
    """Have what user code prints reach the log at the end of each line."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # not what the user's module put there
            stream.reconfigure(line_buffering=True)


def leave_threads_behind(code: int) -> None:
    """End the process now where threads of the user's would keep it; else return.

    An executor's thread cannot be interrupted, and Python waits for it at exit.
    """
    me = threading.current_thread()
    if any(each is not me and not each.daemon for each in threading.enumerate()):
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError, AttributeError):
                stream.flush()
        os._exit(code)
