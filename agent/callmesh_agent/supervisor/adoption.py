"""What a new supervisor makes of the processes that an earlier one started.

A process is adopted when the kernel still knows it (pid and start ticks) and
its lock is held. What is not adopted has ended, with a status that nobody knows.
"""

from __future__ import annotations

import contextlib
import os
import signal
from dataclasses import dataclass, field

from callmesh_agent.supervisor import proc
from callmesh_agent.supervisor.locks import Locks
from callmesh_agent.supervisor.records import Records
from callmeshpb.v1 import supervisor_pb2


@dataclass(slots=True)
class Living:
    """A process to be tracked from now on."""

    record: supervisor_pb2.ProcessRecord
    pidfd: int
    # How to start it again, where the supervisor does that itself.
    request: supervisor_pb2.StartProcess | None


@dataclass(slots=True)
class Found:
    """What the records say, held against the kernel."""

    living: list[Living] = field(default_factory=list)
    ended: list[supervisor_pb2.ProcessRecord] = field(default_factory=list)


def find(records: Records, locks: Locks) -> Found:
    """Adopt what lives; write down what ended meanwhile, and end what it left behind.

    A zygote ends with its supervisor: one that still lives is killed.
    """
    found = Found()
    for record in records.read_all():
        process = record.process
        if not process.running:
            found.ended.append(record)
            continue
        if process.pid == 0 and not _complete(record, locks):
            # The earlier supervisor died before the start, and answered nobody.
            records.remove(process.process_id)
            locks.remove(process.process_id)
            continue
        living = _living(record, locks)
        if living is not None:
            records.write(record)
            found.living.append(living)
            continue
        kill_holders(process.process_id, locks, set())
        process.running = False
        process.ended_at.GetCurrentTime()
        records.write(record, flush=True)
        found.ended.append(record)
    return found


def kill_holders(process_id: str, locks: Locks, spared: set[int]) -> list[int]:
    """KILL what still holds the lock of a process that ended; their pidfds.

    A lock is inherited, so whoever holds it descends from that process.
    """
    if not locks.is_held(process_id):
        return []
    pidfds = []
    for pid in proc.holders(locks.path(process_id)):
        if pid in spared:
            continue
        with contextlib.suppress(ProcessLookupError, PermissionError):
            pidfd = os.pidfd_open(pid)
            pidfds.append(pidfd)
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    return pidfds


def _complete(record: supervisor_pb2.ProcessRecord, locks: Locks) -> bool:
    """Find the process of a start that was under way, by its lock."""
    process_id = record.process.process_id
    holders = proc.holders(locks.path(process_id)) if locks.is_held(process_id) else []
    if not holders:
        return False
    record.process.pid = holders[0]
    record.process.start_ticks = proc.start_ticks(holders[0])
    return True


def _living(record: supervisor_pb2.ProcessRecord, locks: Locks) -> Living | None:
    process = record.process
    if not locks.is_held(process.process_id):
        return None
    try:
        pidfd = proc.open_pidfd(process.pid, process.start_ticks)
    except ProcessLookupError:
        return None
    if record.is_zygote:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    return Living(record, pidfd, _request_of(record) if record.restart else None)


def _request_of(record: supervisor_pb2.ProcessRecord) -> supervisor_pb2.StartProcess | None:
    """The request that started it. The environment comes from the kernel, not from the disk."""
    process = record.process
    try:
        environment = proc.environment(process.pid)
    except OSError:
        return None
    return supervisor_pb2.StartProcess(
        process_id=process.process_id,
        spec_hash=process.spec_hash,
        argv=record.argv,
        environment=environment,
        directory=record.directory,
        log_path=process.log_path,
        labels=process.labels,
        restart=True,
    )
