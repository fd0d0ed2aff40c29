"""The server's disk: writes are committed in order, a little later; a crash loses the rest.

Stands for the server's `store`: `SimRecords` for `Records`, `Disk` for what is in
the file, `SimDatabase` for a server's `Database` and its `Writer`.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from google.protobuf.message import Message
from sim_checks import Checks
from sim_clock import Clock, Process

from callmesh_server.core.attempts import has_ended
from callmesh_server.store.rows import Loaded
from callmesh_wire.errors import AlreadyExistsError, CallmeshError, ExhaustedError
from callmesh_wire.names import AppName
from callmeshpb.v1 import scheduler_pb2 as pb

Done = Callable[[CallmeshError | None], None]
Record = TypeVar("Record", bound=Message)
# How often a full disk is tried again, seconds.
TRY_AGAIN = 0.5


@dataclass(frozen=True, slots=True)
class Change:
    """One statement: a record under a key, or its end."""

    table: str
    key: Any
    record: Message | None
    # The write is refused where there is such a row.
    once: bool = False


class SimRecords:
    """The changes that there are."""

    def put_app(self, app: pb.App) -> Change:
        return Change("apps", AppName(app.spec.project, app.spec.domain, app.spec.name), app)

    def delete_app(self, project: str, domain: str, name: str) -> Change:
        return Change("apps", AppName(project, domain, name), None)

    def put_instance(self, instance: pb.Instance) -> Change:
        return Change("instances", instance.id, instance)

    def delete_instance(self, instance_id: str) -> Change:
        return Change("instances", instance_id, None)

    def put_node(self, node: pb.Node) -> Change:
        return Change("nodes", node.name, node)

    def delete_node(self, name: str) -> Change:
        return Change("nodes", name, None)

    def insert_run(self, run: pb.Run, _inputs: pb.Run, _request_id: str) -> Change:
        return Change("runs", run.name, run, once=True)

    def update_run(self, run: pb.Run) -> Change:
        return Change("runs", run.name, run)


@dataclass(slots=True)
class Disk:
    """What survives, with the moments at which it is full."""

    clock: Clock
    rng: random.Random
    checks: Checks
    epoch: int = 0
    full_until: float = 0.0
    apps: dict[AppName, pb.App] = field(default_factory=dict)
    instances: dict[str, pb.Instance] = field(default_factory=dict)
    nodes: dict[str, pb.Node] = field(default_factory=dict)
    runs: dict[str, pb.Run] = field(default_factory=dict)

    @property
    def is_full(self) -> bool:
        return self.clock.now < self.full_until

    def loaded(self) -> Loaded:
        """What a server finds as it starts, its own to change."""
        return Loaded(
            epoch=self.epoch,
            apps=[_copy(each) for each in self.apps.values()],
            instances=[_copy(each) for each in self.instances.values()],
            nodes=[_copy(each) for each in self.nodes.values()],
            runs=[_copy(each) for each in self.runs.values() if not has_ended(each)],
        )

    def commit(self, changes: Sequence[Change]) -> CallmeshError | None:
        """One write, whole or not at all."""
        for change in changes:
            if change.once and change.key in self._table(change.table):
                return AlreadyExistsError(f"`{change.key}` exists")
        for change in changes:
            if isinstance(change.record, pb.Run):
                self.checks.committed(change.record)
            table = self._table(change.table)
            if change.record is None:
                table.pop(change.key, None)
            else:
                table[change.key] = change.record
        return None

    def _table(self, name: str) -> dict[Any, Any]:
        table: dict[Any, Any] = getattr(self, name)
        return table


@dataclass(frozen=True, slots=True)
class _Write:
    changes: Sequence[Change]
    done: Done
    refusable: bool


class SimWriter:
    """A server's way to the disk: groups, in their order."""

    def __init__(self, disk: Disk, process: Process) -> None:
        self._disk = disk
        self._process = process
        self._clock = disk.clock
        self._waiting: deque[_Write] = deque()
        self._busy = False

    def check_room(self) -> None:
        if self._disk.is_full:
            raise ExhaustedError("the disk is full")

    async def or_full(self, committed: asyncio.Future[None]) -> None:
        await committed

    def write(self, changes: Sequence[Change], done: Done, *, refusable: bool = False) -> None:
        self._waiting.append(_Write(changes, done, refusable))
        if not self._busy:
            self._begin()

    def _begin(self) -> None:
        """Commit what waits now, in one transaction; one in thirty takes its time."""
        self._busy = True
        rng = self._disk.rng
        slow = rng.random() < 1 / 30
        takes = rng.uniform(0.05, 0.6) if slow else rng.uniform(0.0002, 0.003)
        count = len(self._waiting)
        self._clock.after(takes, lambda: self._commit(count), self._process)

    def _commit(self, count: int) -> None:
        if self._disk.is_full:
            self._keep_waiting()
            return
        told = []
        for _ in range(count):
            write = self._waiting.popleft()
            told.append((write.done, self._disk.commit(write.changes)))
        self._busy = False
        if self._waiting:
            self._begin()
        for done, error in told:
            done(error)

    def _keep_waiting(self) -> None:
        refused = [each for each in self._waiting if each.refusable]
        self._waiting = deque(each for each in self._waiting if not each.refusable)
        self._clock.after(TRY_AGAIN, lambda: self._commit(len(self._waiting)), self._process)
        for each in refused:
            each.done(ExhaustedError("the disk is full"))


class SimDatabase:
    """What a server has of its store."""

    def __init__(self, disk: Disk, process: Process) -> None:
        self.loaded = disk.loaded()
        self.records = SimRecords()
        self.writer = SimWriter(disk, process)


def _copy(record: Record) -> Record:
    copy = type(record)()
    copy.CopyFrom(record)
    return copy
