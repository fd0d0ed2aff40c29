"""Start a supervisor if none runs: the agent's side, and the hold on a folder.

Whoever holds the flock of `<state>/supervisor.lock` may replace the socket. The
launcher takes the lock and binds the socket itself, and lets the supervisor
inherit both: there is no moment in which two could start, and a client can
connect at once, before the supervisor has finished its imports.
"""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from callmesh_agent.supervisor import proc
from callmesh_agent.supervisor.locks import take
from callmesh_agent.unixsocket import listening

BACKLOG = 64
# How long a lock may be held by one who has not yet said who it is.
STARTING_SECONDS = 2.0
# All that a supervisor needs of its starter's environment.
INHERITED = ("HOME", "LANG", "LC_ALL", "PATH", "PYTHONPATH", "TMPDIR", "TZ", "USER")
# Orphaned at once, so that nobody must wait for it. Prints its pid.
DETACH = '"$@" </dev/null >&2 & echo $!'


class AlreadyRunning(Exception):
    """Another supervisor holds the folder."""

    def __init__(self, state: Path, pid: int) -> None:
        super().__init__(
            f"the supervisor of `{state}` is process {pid}: stop it with `callmesh down`"
        )
        self.pid = pid


@dataclass(frozen=True, slots=True)
class Held:
    """The hold on a state folder, and the socket that only its holder may bind."""

    lock: int
    lock_path: Path
    listener: socket.socket

    @classmethod
    def inherited(cls, options: Mapping[str, str]) -> Held | None:
        """What the launcher has handed down, if it was a launcher that started us."""
        if "--lock-fd" not in options:
            return None
        lock, listen = int(options["--lock-fd"]), int(options["--listen-fd"])
        os.set_inheritable(lock, False)  # noqa: FBT003
        os.set_inheritable(listen, False)  # noqa: FBT003
        return cls(lock, _lock_path(Path(options["--state"])), socket.socket(fileno=listen))

    def write_pid(self, pid: int) -> None:
        """Say who holds it."""
        os.ftruncate(self.lock, 0)
        os.pwrite(self.lock, str(pid).encode(), 0)

    def close(self) -> None:
        """Give both up in this process."""
        self.listener.close()
        os.close(self.lock)


def hold(path: Path, state: Path) -> Held:
    """Take the folder's lock and bind its socket, mode 0600. Raises `AlreadyRunning`."""
    state.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = _take(state)
    try:
        listener = listening(path, BACKLOG)
    except OSError:
        os.close(lock)
        raise
    return Held(lock, _lock_path(state), listener)


def ensure_running(
    python: str, socket_path: str | Path, state: str | Path, logs: str | Path
) -> int:
    """The pid of the folder's supervisor, started in a session of its own if none runs.

    Takes about 5 ms: connections wait in its socket until it is up. Its own log
    is `supervisor.log` in ``logs``.
    """
    path, state, logs = Path(socket_path), Path(state), Path(logs)
    try:
        held = hold(path, state)
    except AlreadyRunning as running:
        return running.pid
    try:
        pid = _start(python, path, state, logs, held)
        held.write_pid(pid)
    finally:
        held.close()
    return pid


def _start(python: str, path: Path, state: Path, logs: Path, held: Held) -> int:
    logs.mkdir(parents=True, exist_ok=True, mode=0o700)
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
    log = os.open(logs / "supervisor.log", flags, 0o600)
    lock, listen = held.lock, held.listener.fileno()
    command = [
        python, "-m", "callmesh_agent.supervisor", "--socket", str(path), "--state", str(state),
        "--lock-fd", str(lock), "--listen-fd", str(listen),
    ]  # fmt: skip
    try:
        done = subprocess.run(
            ["/bin/sh", "-c", DETACH, "sh", *command],
            cwd="/",
            env={name: os.environ[name] for name in INHERITED if name in os.environ},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            pass_fds=[lock, listen],
            start_new_session=True,
            check=True,
        )
    finally:
        os.close(log)
    return int(done.stdout)


def _take(state: Path) -> int:
    path = _lock_path(state)
    until = time.monotonic() + STARTING_SECONDS
    while True:
        lock = take(path)
        if lock is None:
            # The holder is starting or ending if it has not said who it is. If it
            # is dead, a child of its has the lock until it executes its command.
            pid = _written(path)
            if proc.is_alive(pid) or time.monotonic() > until:
                raise AlreadyRunning(state, pid)
            time.sleep(0.002)
        elif _is_at(path, lock):
            return lock
        else:
            # One that ended has removed the file that was locked here.
            os.close(lock)


def _lock_path(state: Path) -> Path:
    return state / "supervisor.lock"


def _written(path: Path) -> int:
    try:
        return int(path.read_text() or 0)
    except FileNotFoundError:
        return 0


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
