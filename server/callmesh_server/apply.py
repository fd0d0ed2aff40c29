"""Performs actions: memory first, then the store, then whoever waits for it.

Records change in memory at once, in the order of the actions, and their writes
are queued in that order; what one `flush` hands over is one transaction, but
for new runs, which the disk may refuse one by one. Changes that are not durable
wait up to `LAZY_SECONDS` for a durable one of the same record to replace them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Protocol

from callmesh_server.changes import AppChanged, Changes, NodeChanged
from callmesh_server.core import actions as do
from callmesh_server.core import attempt_reports
from callmesh_server.core.world import Key, RunKey, World, app_name, app_of, task_key
from callmesh_server.live import Live
from callmesh_server.orders import ack, attempt_order, go, stop, without_secrets
from callmesh_server.run_writes import Done, RunWrites
from callmesh_server.store.secrets import Secrets
from callmesh_wire.errors import CallmeshError, UnavailableError
from callmesh_wire.names import AppName
from callmeshpb.v1 import node_pb2, scheduler_pb2

if TYPE_CHECKING:
    from callmesh_server.store.database import Database
    from callmesh_server.store.writer import Change

log = logging.getLogger(__name__)

LAZY_SECONDS = 0.5


class Outboxes(Protocol):
    """Where messages to nodes go (`sessions.Sessions`)."""

    def send(self, node: str, message: node_pb2.ServerMessage) -> None:
        """Queue a message; dropped where the node has no session."""
        ...

    def close(self, node: str, reason: str) -> None:
        """End the node's session."""
        ...


class Loop(Protocol):
    """Who decides again (`loop.Loop`)."""

    def mark(self, keys: Iterable[Key]) -> None:
        """Decide these keys soon."""
        ...

    def wake_at(self, key: Key, at: float) -> None:
        """Decide this key at a time, epoch seconds."""
        ...

    def unwake(self, key: Key) -> None:
        """The key's object is gone."""
        ...

    def react(self, event: Callable[[World, float], list[do.Action]]) -> None:
        """Have an event decided now."""
        ...


class Applier:
    """The only thing that changes the ledger and hands changes to the writer."""

    def __init__(
        self,
        live: Live,
        database: Database,
        changes: Changes,
        outboxes: Outboxes,
        secrets: Secrets,
        forgotten_port: Callable[[AppName], list[Change]],
    ) -> None:
        """``forgotten_port`` gives the writes that make a removed app's port a tombstone."""
        self._live = live
        self._ledger = live.ledger
        self._records = database.records
        self._writer = database.writer
        self._changes = changes
        self._outboxes = outboxes
        self._secrets = secrets
        self._forgotten_port = forgotten_port
        self._loop: Loop
        self._runs = RunWrites(
            live, database, changes, outboxes.send, self._refused, self._run_ended
        )
        self._staged: dict[str, list[Change]] = {}
        self._lazy: dict[str, list[Change]] = {}
        self._lazy_timer: asyncio.TimerHandle | None = None

    def attach(self, loop: Loop) -> None:
        """Name the loop that decides again; once, before the first action."""
        self._loop = loop

    def perform(self, actions: Iterable[do.Action]) -> None:
        """Perform actions in their order. `flush` afterwards."""
        for action in actions:
            match action:
                case do.PutRun():
                    self._put_run(action)
                case do.SendPrepare(node, name, number):
                    self._prepare(node, name, number)
                case do.SendGo(node, name, fence):
                    self._runs.after_commit(name, node, go(name, fence))
                case do.SendAck(node, name, fence):
                    self._runs.after_commit(name, node, ack(name, fence))
                case do.SendStop(node, name, fence, reason, grace):
                    self._outboxes.send(node, stop(name, fence, reason, grace))
                case do.CloseSession(node, reason):
                    self._outboxes.close(node, reason)
                case do.WakeAt(key, at):
                    self._loop.wake_at(key, at)
                case do.MarkDirty(key):
                    self._loop.mark([key])
                case _:
                    self._put(action)

    def begin_run(
        self,
        run: scheduler_pb2.Run,
        inputs: scheduler_pb2.Run,
        task: scheduler_pb2.Task,
        request_id: str,
        done: Done,
    ) -> None:
        """Start a run; ``done`` is called once it is on disk, or refused.

        It is decided at once; should the disk refuse it (its name or request id
        exists), it is forgotten again, and its attempt too: no user code ran.
        Raises `ExhaustedError` while the disk is full.
        """
        self._writer.check_room()
        self._live.begin(run, inputs, task, request_id)
        self._runs.expect(run.name, inputs, request_id, done)
        self._loop.mark(self._ledger.apply(do.PutRun(run)))
        self._runs.put(run, None, durable=True)

    def also(self, key: str, changes: list[Change]) -> None:
        """Write these changes with the next flush; a later ``also`` of the key replaces them."""
        self._lazy.pop(key, None)
        self._staged.pop(key, None)
        self._staged[key] = changes

    async def commit(self) -> None:
        """Flush, and return once everything so far is on disk.

        Raises `ExhaustedError` where that has to wait for room on the disk; it
        is written then all the same.
        """
        result: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def done(error: CallmeshError | None) -> None:
            if result.done():
                return
            if error is None:
                result.set_result(None)
            else:
                result.set_exception(error)

        self.flush(done)
        await self._writer.or_full(result)

    def flush(self, done: Done | None = None) -> None:
        """Hand what is staged to the writer; ``done`` is told of the commit."""
        staged, self._staged = self._staged, {}
        changes, runs = self._runs.flush()
        changes += [change for group in staged.values() for change in group]
        if changes or done is not None:
            self._writer.write(changes, _committed(runs, self._runs.wrote, done))

    def _put_run(self, action: do.PutRun) -> None:
        run = action.run
        before = self._ledger.world.runs.get(run.name)
        if before is not None:
            self._loop.mark(self._ledger.apply(action))
            self._runs.put(run, before, durable=action.durable)
            if run.attempts:
                self._changes.notify(NodeChanged(run.attempts[-1].node))
            if not action.durable:
                self._start_lazy_timer()

    def _refused(self, run: scheduler_pb2.Run) -> None:
        gone = scheduler_pb2.Run()
        gone.CopyFrom(run)
        gone.phase = scheduler_pb2.RUN_PHASE_ABORTED
        self._loop.mark(self._ledger.apply(do.PutRun(gone)))

    def _prepare(self, node: str, name: str, number: int) -> None:
        run = self._ledger.world.runs.get(name)
        task = self._ledger.world.tasks.get(task_key(run)) if run is not None else None
        if run is None or task is None:
            return
        environment = task.environment
        secrets = self._secrets.values(
            run.project, run.domain, [*environment.secrets, *run.secrets]
        )
        if secrets.missing:
            report = without_secrets(run, number, secrets.missing)
            self._loop.react(lambda world, now: attempt_reports.reported(world, node, report, now))
            return
        order = attempt_order(run, number, task, self._live.inputs.get(name), secrets)
        self._outboxes.send(node, node_pb2.ServerMessage(prepare=order))

    def _run_ended(self, name: str) -> None:
        self._loop.unwake(RunKey(name))

    def _put(self, action: do.StateAction) -> None:
        world = self._ledger.world
        name: AppName | None = None
        nodes: set[str] = set()
        match action:
            case do.PutApp(app, durable):
                name = app_name(app)
                nodes = {each.node for each in world.instances_of(name)}
                changes = [self._records.put_app(app)]
                self._write(f"app/{name}", changes, durable=durable)
            case do.RemoveApp(name):
                changes = [self._records.delete_app(name.project, name.domain, name.name)]
                changes += self._forgotten_port(name)
                self._write(f"app/{name}", changes, durable=True)
            case do.PutInstance(instance, durable):
                name, nodes = app_of(instance), {instance.node}
                changes = [self._records.put_instance(instance)]
                self._write(f"instance/{instance.id}", changes, durable=durable)
            case do.RemoveInstance(identifier):
                before = world.instances.get(identifier)
                if before is not None:
                    name, nodes = app_of(before), {before.node}
                changes = [self._records.delete_instance(identifier)]
                self._write(f"instance/{identifier}", changes, durable=True)
            case do.PutNode(node, durable):
                nodes = {node.name}
                changes = [self._records.put_node(node.record)]
                self._write(f"node/{node.name}", changes, durable=durable)
            case do.RemoveNode(identifier):
                nodes = {identifier}
                changes = [self._records.delete_node(identifier)]
                self._write(f"node/{identifier}", changes, durable=True)
            case _:
                pass
        self._loop.mark(self._ledger.apply(action))
        if name is not None:
            self._changes.notify(AppChanged(name))
        for each in nodes:
            self._changes.notify(NodeChanged(each))

    def _write(self, key: str, changes: list[Change], *, durable: bool) -> None:
        if durable or key in self._staged:
            self.also(key, changes)
        else:
            self._lazy[key] = changes
            self._start_lazy_timer()

    def _start_lazy_timer(self) -> None:
        if self._lazy_timer is None:
            loop = asyncio.get_running_loop()
            self._lazy_timer = loop.call_later(LAZY_SECONDS, self.flush_lazy)

    def flush_lazy(self) -> None:
        """Write what is not durable too: after a while, and at the end."""
        if self._lazy_timer is not None:
            self._lazy_timer.cancel()
            self._lazy_timer = None
        self._staged |= self._lazy
        self._lazy.clear()
        changes = self._runs.take_lazy()
        if changes:
            self._staged["lazy runs"] = changes
        self.flush()


def _committed(
    runs: Sequence[str], wrote: Callable[[Sequence[str]], None], done: Done | None
) -> Done:
    def told(error: CallmeshError | None) -> None:
        if error is None:
            wrote(runs)
        elif not isinstance(error, UnavailableError):
            log.error("a write was refused: %s", error)
        if done is not None:
            done(error)

    return told
