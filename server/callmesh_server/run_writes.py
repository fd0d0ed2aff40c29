"""Runs on their way to the disk, and what waits there for each of them.

A run changes in memory at once. Several changes between two flushes are one
write; one that is not durable waits a while for a durable one to replace it.
What may only be said after the commit is said here: `SendGo`, `SendAck`, the
answer to a submitter, and the end to whoever watches.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from callmesh_server.changes import Changes, RunChanged
from callmesh_server.core.attempts import has_ended
from callmesh_server.core.caching import is_result
from callmesh_server.live import Live
from callmesh_server.orders import ack
from callmesh_wire.errors import CallmeshError
from callmeshpb.v1 import node_pb2, scheduler_pb2

if TYPE_CHECKING:
    from callmesh_server.store.database import Database
    from callmesh_server.store.writer import Change

Done = Callable[[CallmeshError | None], None]
Send = Callable[[str, node_pb2.ServerMessage], None]


@dataclass(slots=True)
class _Pending:
    """Writes of one run that are not on disk yet."""

    count: int = 0
    # To be sent to a node when none is pending.
    waiting: list[tuple[str, node_pb2.ServerMessage]] = field(default_factory=list)
    end: scheduler_pb2.Run | None = None


@dataclass(frozen=True, slots=True)
class _New:
    inputs: scheduler_pb2.Run
    request_id: str
    done: Done


class RunWrites:
    """The writes of every run. The ledger is changed by the `Applier`, before."""

    def __init__(
        self,
        live: Live,
        database: Database,
        changes: Changes,
        send: Send,
        refused: Callable[[scheduler_pb2.Run], None],
        ended: Callable[[str], None],
    ) -> None:
        """``refused`` takes a run out of the ledger that the disk does not take;
        ``ended`` hears of every end that is on disk."""
        self._live = live
        self._records = database.records
        self._writer = database.writer
        self._changes = changes
        self._send = send
        self._refused = refused
        self._ended = ended
        self._pending: dict[str, _Pending] = {}
        self._new: dict[str, _New] = {}
        self._staged: dict[str, scheduler_pb2.Run] = {}
        self._lazy: dict[str, scheduler_pb2.Run] = {}

    def expect(self, name: str, inputs: scheduler_pb2.Run, request_id: str, done: Done) -> None:
        """The next change of this run is its first; ``done`` hears of its commit."""
        self._new[name] = _New(inputs, request_id, done)

    def put(
        self, run: scheduler_pb2.Run, before: scheduler_pb2.Run | None, *, durable: bool
    ) -> None:
        """The run has changed in memory from ``before``."""
        name = run.name
        if not durable and name not in self._staged:
            self._lazy[name] = run
            if name not in self._pending:
                self._changes.notify(RunChanged(name))
            return
        self._lazy.pop(name, None)
        pending = self._pending.get(name)
        if pending is None:
            pending = self._pending[name] = _Pending()
        if name not in self._staged:
            pending.count += 1
        self._staged[name] = run
        if has_ended(run):
            pending.end = run
            if is_result(run):
                self._live.note_result(run.cache_key)
            if before is not None:
                self._live.hide_end(before)

    def after_commit(self, name: str, node: str, message: node_pb2.ServerMessage) -> None:
        """Send this once every write of the run so far is on disk."""
        pending = self._pending.get(name)
        if pending is None:
            self._send(node, message)
        else:
            pending.waiting.append((node, message))

    def flush(self) -> tuple[list[Change], list[str]]:
        """Queue new runs; returns the changes of others, and whose they are.

        Call `wrote` with those names when the changes are on disk.
        """
        staged, self._staged = self._staged, {}
        changes: list[Change] = []
        names: list[str] = []
        for name, run in staged.items():
            new = self._new.pop(name, None)
            if new is None:
                changes.append(self._records.update_run(run))
                names.append(name)
                if is_result(run):
                    changes.append(self._records.put_cached(run))
            else:
                self._insert(run, new)
        return changes, names

    def take_lazy(self) -> list[Change]:
        """The changes that are not durable and wait for no other any more."""
        lazy, self._lazy = self._lazy, {}
        return [self._records.update_run(run) for run in lazy.values()]

    def wrote(self, names: Sequence[str]) -> None:
        """A write of each of these runs is on disk."""
        for name in names:
            pending = self._pending[name]
            pending.count -= 1
            if pending.count:
                continue
            del self._pending[name]
            # First what somebody waits for: an end is told before it is
            # acknowledged, and user code starts before its run is told of.
            if pending.end is not None:
                self._ended(name)
                self._live.show_end(pending.end)
            for node, message in pending.waiting:
                self._send(node, message)
            if pending.end is None:
                self._changes.notify(RunChanged(name))

    def _insert(self, run: scheduler_pb2.Run, new: _New) -> None:
        def done(error: CallmeshError | None) -> None:
            if error is None:
                self.wrote((run.name,))
            else:
                self._refuse(run.name)
            new.done(error)

        change = self._records.insert_run(run, new.inputs, new.request_id)
        self._writer.write([change], done, refusable=True)

    def _refuse(self, name: str) -> None:
        """The disk does not take the run. No user code of it has run."""
        pending = self._pending.pop(name, None)
        self._lazy.pop(name, None)
        self._staged.pop(name, None)
        run = self._live.shown(name) or (pending.end if pending is not None else None)
        if run is None:
            return
        for attempt in run.attempts:
            self._send(attempt.node, ack(name, attempt.fence))
        self._live.drop(run)
        self._refused(run)
