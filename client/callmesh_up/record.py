"""The record of a running mesh, and the lock that proves it runs."""

from __future__ import annotations

import fcntl
import json
import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from callmesh_up.layout import Layout
from callmesh_wire.diskfile import write_whole


class AlreadyRunning(Exception):
    """Another `callmesh up` holds the state folder. ``str()`` names it."""


@dataclass(frozen=True, slots=True)
class Record:
    """What `up.json` says: how to find the mesh of a state folder."""

    pid: int
    version: str
    api_port: int
    ingress_port: int
    runtime_dir: str
    started_at: float


def acquire(layout: Layout) -> int:
    """Lock the state folder for this process; the descriptor holds the lock.

    Raises `AlreadyRunning`, naming the process.
    """
    while True:
        descriptor = os.open(layout.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            break
        if _is_same_file(descriptor, layout.lock):
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"{os.getpid()}\n".encode())
            return descriptor
        os.close(descriptor)  # a `callmesh down` removed it between open and lock
    pid = holder(layout)
    who = f" (process {pid})" if pid else ""
    raise AlreadyRunning(
        f"a mesh is already running on `{layout.state}`{who}: use it, "
        "end it with `callmesh down`, or name another folder with --state-dir"
    )


def _is_same_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def is_running(layout: Layout) -> bool:
    """Whether some process holds the state folder."""
    try:
        descriptor = os.open(layout.lock, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def holder(layout: Layout) -> int:
    """The process that holds the state folder; 0 if there is none, or it has not said so yet.

    Known while it starts, and whatever became of the record.
    """
    if not is_running(layout):
        return 0
    try:
        return int(layout.lock.read_text())
    except (OSError, ValueError):
        found = read(layout)
        return found.pid if found else 0


def write(layout: Layout, record: Record) -> None:
    """Publish the record, whole or not at all."""
    write_whole(layout.record, json.dumps(asdict(record)).encode())


def read(layout: Layout) -> Record | None:
    """The record of the mesh that runs, or ran last; None if there is none."""
    try:
        found = json.loads(layout.record.read_text())
        # What a newer version has added is of no use here.
        return Record(**{each.name: found[each.name] for each in fields(Record)})
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return None
