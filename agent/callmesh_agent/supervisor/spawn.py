"""How one process is made: what it inherits, and the start itself.

A process gets its environment whole from the request, its lock, its listening
socket, and a log file as stdout and stderr; nothing else of the supervisor's.
"""

from __future__ import annotations

import base64
import contextlib
import resource
import socket
import subprocess
from dataclasses import dataclass

from callmesh_wire.errors import FailedPreconditionError
from callmeshpb.v1 import supervisor_pb2, workload_pb2

LISTEN_FD = "CALLMESH_LISTEN_FD"
LOCK_FD = "CALLMESH_LOCK_FD"
ZYGOTE_FD = "CALLMESH_ZYGOTE_FD"
START = "CALLMESH_START"


@dataclass(slots=True)
class Inheritance:
    """What one process gets beside its environment; closed here once it has them."""

    lock: int
    log: int
    listener: socket.socket | None = None
    # The zygote's end of its control socket.
    control: socket.socket | None = None
    port: int = 0

    def descriptors(self) -> dict[str, int]:
        """By purpose, as in `ZygoteFork.fds`."""
        found = {"log": self.log, "lock": self.lock}
        if self.listener is not None:
            found["listen"] = self.listener.fileno()
        if self.control is not None:
            found["control"] = self.control.fileno()
        return found


def spawn(request: supervisor_pb2.StartProcess, given: Inheritance, umask: int) -> int:
    """Start the request's command in a session of its own; its pid.

    Raises `FailedPreconditionError` when it cannot be executed.
    """
    passed = [fd for purpose, fd in given.descriptors().items() if purpose != "log"]
    try:
        started = subprocess.Popen(
            list(request.argv),
            cwd=request.directory or None,
            env=environment_of(request, given),
            stdin=subprocess.DEVNULL,
            stdout=given.log,
            stderr=given.log,
            pass_fds=passed,
            start_new_session=True,
            umask=umask,
        )
    except OSError as problem:
        raise FailedPreconditionError(
            f"`{request.process_id}` cannot be started: {problem.strerror}: "
            f"`{problem.filename or request.argv[0]}`"
        ) from None
    # The supervisor waits for it by its pidfd: Popen must not.
    started.returncode = 0
    if request.restart:
        _lift_file_limit(started.pid)
    return started.pid


def _lift_file_limit(pid: int) -> None:
    """Let a proxy open as many connections as the machine allows, not 1,024."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ProcessLookupError):
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (hard, hard))


def environment_of(request: supervisor_pb2.StartProcess, given: Inheritance) -> dict[str, str]:
    """The whole environment of a spawned process."""
    environment = dict(request.environment)
    listen_fd = -1
    if given.port:
        environment["PORT"] = str(given.port)
    if given.listener is not None:
        listen_fd = given.listener.fileno()
        environment[LISTEN_FD] = str(listen_fd)
    if given.control is not None:
        environment[ZYGOTE_FD] = str(given.control.fileno())
        environment[LOCK_FD] = str(given.lock)
    if request.start:
        start = workload_pb2.WorkloadStart.FromString(request.start)
        start.ClearField("environment")
        if start.HasField("app"):
            start.app.listen_fd = listen_fd
        environment[START] = base64.b64encode(start.SerializeToString()).decode()
    return environment


def start_of_fork(request: supervisor_pb2.StartProcess, given: Inheritance) -> bytes:
    """The `WorkloadStart` that a zygote's child gets; its descriptors' numbers it knows itself."""
    start = workload_pb2.WorkloadStart.FromString(request.start)
    start.environment.update(request.environment)
    start.directory = request.directory or start.directory
    if given.port:
        start.environment["PORT"] = str(given.port)
    return start.SerializeToString()
