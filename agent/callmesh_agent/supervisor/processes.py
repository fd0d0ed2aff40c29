"""The table of what runs: starts, ends, restarts.

Every process is watched by a pidfd, be it a child or adopted. When the leader
of a process's session ends, what is left of its group is killed, so that its
lock and its port are free before the end is told.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import signal
import socket
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

from callmesh_agent.supervisor import adoption, listeners, logfiles, proc, spawn
from callmesh_agent.supervisor.locks import Locks
from callmesh_agent.supervisor.records import Records
from callmesh_agent.supervisor.tracked import Tracked, new_record, spelled
from callmesh_agent.supervisor.zygotes import Zygote
from callmesh_wire.errors import (
    AlreadyExistsError,
    CallmeshError,
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
)
from callmeshpb.v1 import supervisor_pb2

# How long a killed process may take to be gone.
DYING_SECONDS = 2.0
ENDING = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGKILL})
STRANGERS = 256

log = logging.getLogger("callmesh.supervisor")


class Listener(Protocol):
    """Who hears what nobody asked for."""

    def exited(self, process: supervisor_pb2.Process) -> None:
        """A process has ended."""

    def restarted(self, process: supervisor_pb2.Process) -> None:
        """A process was started again."""

    def zygote(self, state: supervisor_pb2.ZygoteState) -> None:
        """A zygote has finished its imports."""


class Processes:
    """The processes of one state folder. All methods run in one event loop."""

    def __init__(
        self, state: Path, umask: int, listener: Listener, group: asyncio.TaskGroup
    ) -> None:
        self._state = state
        self._umask = umask
        self._listener = listener
        self._group = group
        self._locks = Locks(state / "locks")
        self._records = Records(state / "records")
        self._ports = listeners.Ports(random.Random())
        self._table: dict[str, Tracked] = {}
        self._by_pid: dict[int, Tracked] = {}
        self._starting: set[str] = set()
        # Ended descendants that nobody knew: one may be a fork not yet told of.
        self._strangers: dict[int, int] = {}
        self._memory_kills = proc.memory_kills()
        self.is_closing = False

    @property
    def all(self) -> list[Tracked]:
        """Running ones, and ended ones not yet forgotten."""
        return list(self._table.values())

    def adopt(self) -> None:
        """Take over what an earlier supervisor of this folder has left."""
        found = adoption.find(self._records, self._locks)
        for ended in found.ended:
            tracked = Tracked(ended)
            tracked.over.set()
            self._table[ended.process.process_id] = tracked
        for living in found.living:
            tracked = Tracked(living.record, living.pidfd, living.request, is_adopted=True)
            tracked.born = time.monotonic()
            self._watch(tracked)
        if found.living or found.ended:
            log.info("adopted %d processes, %d ended", len(found.living), len(found.ended))

    async def start(self, request: supervisor_pb2.StartProcess) -> supervisor_pb2.Process:
        """Start one process. Raises a `CallmeshError` that says why not."""
        self._check(request)
        self._starting.add(request.process_id)
        try:
            return (await self._start(request)).process
        finally:
            self._starting.discard(request.process_id)

    def signal(self, request: supervisor_pb2.SignalProcess) -> None:
        """Signal a process. One that is asked to end is not restarted."""
        tracked = self._table.get(request.process_id)
        if tracked is None or tracked.over.is_set():
            raise NotFoundError(f"`{request.process_id}` is not running")
        if request.signal in ENDING:
            tracked.stopping.set()
        tracked.send(request.signal, to_group=request.group)
        if request.kill_after > 0:
            tracked.kill_later(request.kill_after)

    def forget(self, process_id: str) -> None:
        """Forget an end that was told. What is not known is forgotten already."""
        tracked = self._table.get(process_id)
        if tracked is None:
            return
        if not tracked.over.is_set():
            raise FailedPreconditionError(f"`{process_id}` is running: stop it first")
        del self._table[process_id]
        if process_id not in self._starting:
            self._records.remove(process_id)
            self._locks.remove(process_id)

    def reap_strangers(self) -> None:
        """Reap ended children: a known one as at its pidfd, others silently."""
        while True:
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if ended is None:
                return
            if (tracked := self._by_pid.get(ended.si_pid)) is not None:
                self._on_end(tracked)
                continue
            os.waitid(os.P_PID, ended.si_pid, os.WEXITED)
            self._strangers[ended.si_pid] = proc.status_of(ended)
            if len(self._strangers) > STRANGERS:
                del self._strangers[next(iter(self._strangers))]

    def cut_logs(self) -> None:
        """Shorten the log files that have grown too long."""
        for tracked in self._table.values():
            logfiles.cut(Path(tracked.process.log_path or os.devnull))

    def clear(self) -> None:
        """Remove records and locks, when everything has ended."""
        self._records.clear()
        self._locks.clear()

    def _check(self, request: supervisor_pb2.StartProcess) -> None:
        process_id = request.process_id
        self._locks.path(process_id)  # raises for what is no id
        if self.is_closing:
            raise FailedPreconditionError(
                f"`{process_id}` is not started: the supervisor is ending"
            )
        known = self._table.get(process_id)
        if process_id in self._starting or (known is not None and not known.over.is_set()):
            pid = known.process.pid if known is not None else 0
            raise AlreadyExistsError(f"`{process_id}` is running already, as process {pid}")
        if not request.argv and not request.zygote:
            raise InvalidArgumentError(f"`{process_id}` needs `argv` or `zygote`")
        if request.restart and (request.zygote or request.listen or request.pick_port):
            raise InvalidArgumentError(
                f"`{process_id}`: `restart` is for a command without `zygote` and without a port"
            )

    async def _start(self, request: supervisor_pb2.StartProcess) -> Tracked:
        process_id = request.process_id
        ours: socket.socket | None = None
        try:
            with ExitStack() as held:
                given, ours = self._inheritance(request, held)
                record = new_record(request, given)
                self._records.write(record)
                pid = await self._make(request, given)
                record.process.pid = pid
                record.process.start_ticks = proc.start_ticks(pid)
                self._records.write(record)
        except (CallmeshError, OSError) as problem:
            if ours is not None:
                ours.close()
            # A zygote that died may have forked before.
            if not isinstance(problem, AlreadyExistsError):
                await self._sweep(process_id)
                self._records.remove(process_id)
                self._table.pop(process_id, None)
            raise
        tracked = Tracked(record, born=time.monotonic())
        if request.restart:
            tracked.request = request
        if ours is not None:
            tracked.zygote = Zygote(process_id, ours, self._listener.zygote)
            self._group.create_task(tracked.zygote.run())
        self._track(tracked)
        return tracked

    def _inheritance(
        self, request: supervisor_pb2.StartProcess, held: ExitStack
    ) -> tuple[spawn.Inheritance, socket.socket | None]:
        """What the process inherits, and the supervisor's end of a zygote's socket."""
        lock = self._locks.take(request.process_id)
        if lock is None:
            pids = proc.holders(self._locks.path(request.process_id))
            raise AlreadyExistsError(
                f"`{request.process_id}` is running already: its lock is held by process "
                f"{', '.join(map(str, pids)) or 'unknown'}"
            )
        held.callback(os.close, lock)
        log_path = Path(request.log_path or os.devnull)
        logfiles.cut(log_path)
        given = spawn.Inheritance(lock, logfiles.open_log(log_path))
        held.callback(os.close, given.log)
        if request.listen:
            given.listener = held.enter_context(listeners.listen())
            given.port = given.listener.getsockname()[1]
        elif request.pick_port:
            given.port = self._ports.pick(time.monotonic())
        if not request.is_zygote:
            return given, None
        ours, given.control = socket.socketpair()
        held.callback(given.control.close)
        ours.setblocking(False)  # noqa: FBT003
        return given, ours

    async def _make(self, request: supervisor_pb2.StartProcess, given: spawn.Inheritance) -> int:
        if not request.zygote:
            return spawn.spawn(request, given, self._umask)
        parent = self._table.get(request.zygote)
        if parent is None or parent.zygote is None or parent.over.is_set():
            raise FailedPreconditionError(
                f"`{request.process_id}` is not started: zygote `{request.zygote}` is not running"
            )
        return await parent.zygote.fork(spawn.start_of_fork(request, given), given.descriptors())

    def _track(self, tracked: Tracked) -> None:
        pid = tracked.process.pid
        try:
            tracked.pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            # A fork that ended before it was told of, reaped as a stranger.
            self._table[tracked.process.process_id] = tracked
            asyncio.get_running_loop().call_soon(self._after_end, tracked, None)
            return
        self._watch(tracked)

    def _watch(self, tracked: Tracked) -> None:
        self._table[tracked.process.process_id] = tracked
        self._by_pid[tracked.process.pid] = tracked
        asyncio.get_running_loop().add_reader(tracked.pidfd, self._on_end, tracked)

    def _on_end(self, tracked: Tracked) -> None:
        process = tracked.process
        asyncio.get_running_loop().remove_reader(tracked.pidfd)
        # Before the reaping: an unreaped leader keeps its group's number.
        proc.kill_group(process.pid, process.start_ticks)
        ended = proc.reap(process.pid)
        status = ended.status if ended is not None else None
        if (
            status is None
            and not tracked.is_adopted
            and proc.start_ticks(process.pid) == process.start_ticks
        ):
            # Still the child of the spare that forked it: SIGCHLD comes with the spare's end.
            return
        if ended is not None:
            process.peak_memory = ended.peak
            process.out_of_memory = self._was_for_memory(ended.status)
        del self._by_pid[process.pid]
        os.close(tracked.pidfd)
        tracked.pidfd = -1
        tracked.cancel_kill()
        self._after_end(tracked, status)

    def _was_for_memory(self, status: int) -> bool:
        before, self._memory_kills = self._memory_kills, proc.memory_kills()
        return status == -signal.SIGKILL and self._memory_kills > before

    def _after_end(self, tracked: Tracked, status: int | None) -> None:
        if tracked.zygote is None and not self._locks.is_held(tracked.process.process_id):
            self._end(tracked, status)
        else:
            self._group.create_task(self._end_slowly(tracked, status))

    async def _end_slowly(self, tracked: Tracked, status: int | None) -> None:
        """What a zygote said last comes before its end; so does the end of what it left."""
        if tracked.zygote is not None:
            await tracked.zygote.wait_closed(DYING_SECONDS)
        await self._sweep(tracked.process.process_id)
        self._end(tracked, status)

    async def _sweep(self, process_id: str) -> None:
        """KILL what holds the lock of a process that ended, and wait for it."""
        pidfds = adoption.kill_holders(process_id, self._locks, set(self._by_pid))
        for pidfd in pidfds:
            try:
                await _wait_readable(pidfd, DYING_SECONDS)
            finally:
                os.close(pidfd)

    def _end(self, tracked: Tracked, status: int | None) -> None:
        process = tracked.process
        if status is None and not tracked.is_adopted:
            # Ended before it was this supervisor's to watch.
            status = self._strangers.pop(process.pid, None)
        process.running = False
        process.ended_at.GetCurrentTime()
        if status is not None:
            process.exit_status = status
        logfiles.cut(Path(process.log_path or os.devnull))
        restarts = self._may_restart(tracked)
        if not restarts:
            tracked.over.set()
        try:
            self._records.write(tracked.record, flush=True)
        except OSError as problem:
            # Told all the same; a successor will call the status unknown.
            log.warning("the end of %s is not recorded: %s", process.process_id, problem)
        log.info("%s (pid %d) ended: %s", process.process_id, process.pid, spelled(status))
        self._listener.exited(process)
        if restarts:
            self._group.create_task(self._restart(tracked))

    def _may_restart(self, tracked: Tracked) -> bool:
        return tracked.request is not None and not tracked.stopping.is_set() and not self.is_closing

    async def _restart(self, dead: Tracked) -> None:
        request = dead.request
        while request is not None:
            await _wait(dead.stopping, dead.delay(time.monotonic()))
            if not self._may_restart(dead):
                dead.over.set()
                return
            try:
                tracked = await self._start(request)
            except (CallmeshError, OSError) as problem:
                log.warning("%s is not restarted: %s", request.process_id, problem)
                self._table[request.process_id] = dead
                continue
            tracked.deaths = dead.deaths
            tracked.process.restarts = dead.process.restarts + 1
            self._records.write(tracked.record)
            self._listener.restarted(tracked.process)
            return


async def _wait(event: asyncio.Event, seconds: float) -> bool:
    """Whether the event came within so many seconds."""
    if seconds <= 0 or event.is_set():
        return event.is_set()
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True


async def _wait_readable(descriptor: int, seconds: float) -> None:
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(descriptor, readable.set)
    try:
        if not await _wait(readable, seconds):
            log.warning("a killed process is still there after %.0f s", seconds)
    finally:
        loop.remove_reader(descriptor)
