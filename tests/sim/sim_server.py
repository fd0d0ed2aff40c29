"""The real server core with a simulated edge.

Stands for the server's `loop`, `apply`, `sessions` and handlers.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from google.protobuf.message import Message
from sim_checks import Broken, Checks
from sim_clock import Clock
from sim_disk import Disk
from sim_line import End

from callmesh_server.core import actions as do
from callmesh_server.core import (
    attempt_reports,
    attempts,
    instances,
    liveness,
    revisions,
    runs,
    view,
)
from callmesh_server.core.decide import decide
from callmesh_server.core.ledger import Ledger
from callmesh_server.core.world import DesiredKey, Key, RunKey, ViewKey, app_name
from callmesh_wire.errors import CallmeshError
from callmesh_wire.names import AppName
from callmeshpb.v1 import common_pb2, node_pb2
from callmeshpb.v1 import scheduler_pb2 as pb

LEASE = 10.0
LAZY = 0.5
TURN = 0.0002


class Ids:
    """Fences of an epoch, and names from the seed."""

    def __init__(self, epoch: int, rng: random.Random) -> None:
        self._epoch = epoch
        self._rng = rng
        self._counter = itertools.count(1)

    def next_fence(self) -> common_pb2.Fence:
        return common_pb2.Fence(epoch=self._epoch, counter=next(self._counter))

    def suffix(self) -> str:
        return "".join(self._rng.choices("abcdefghijklmnopqrstuvwxyz0123456789", k=5))


@dataclass(slots=True)
class _Writes:
    """A run's writes that are not committed, and what waits for them."""

    pending: int = 0
    then: list[Callable[[], None]] = field(default_factory=list)


class SimServer:
    """One life after another over one disk."""

    def __init__(
        self,
        clock: Clock,
        rng: random.Random,
        checks: Checks,
        tasks: dict[str, pb.Task],
        tell: Callable[[str], None],
        ended: Callable[[pb.Run], None],
        see: Callable[[str, Message], None],
    ) -> None:
        """``ended`` hears of each run's committed end, and of all again at each start.

        ``see`` is shown every message to a node.
        """
        self.clock = clock
        self._rng = rng
        self._checks = checks
        self._tasks = tasks
        self._tell = tell
        self._ended = ended
        self._see = see
        self.disk = Disk(clock, rng, checks)
        self.alive = False
        self.ledger = Ledger()
        self._life = 0
        self.start()

    # Life

    def start(self) -> None:
        if self.alive:
            return
        self._tell("the server starts")
        self.alive = True
        self._life += 1
        disk = self.disk
        disk.epoch += 1
        self._ids = Ids(disk.epoch, self._rng)
        self.ledger = Ledger()
        self.world = self.ledger.world
        self.lines: dict[str, End[node_pb2.ServerMessage]] = {}
        self._dirty: dict[Key, None] = {}
        self._turn_is_due = False
        self._lazy: dict[object, do.StateAction] = {}
        self._writes: dict[str, _Writes] = {}
        self._wakes: dict[Key, float] = {}
        self._version = 0
        self._checks.server_started()
        for task in self._tasks.values():
            self.ledger.put_task(task)
        for record in disk.nodes.values():
            node = liveness.remembered(record, self.clock.now, LEASE)
            self.ledger.apply(do.PutNode(node))
        for app in disk.apps.values():
            self.ledger.apply(do.PutApp(app))
        for instance in disk.instances.values():
            self.ledger.apply(do.PutInstance(instance))
        for run in disk.runs.values():
            if attempts.has_ended(run):
                self._ended(run)
            else:
                self.ledger.apply(do.PutRun(run))
        self._mark(self.ledger.all_keys())

    def crash(self) -> None:
        if not self.alive:
            return
        self.alive = False
        self._life += 1
        self.disk.crash()
        lines, self.lines = self.lines, {}
        for line in lines.values():
            line.cut(self._rng.uniform(0.0, 0.05))

    # Clients' calls. None: the server is away; else the answer comes by ``done``.

    def submit(self, run: pb.Run, done: Callable[[], None], refused: Callable[[str], None]) -> None:
        """Record a run once, whatever is asked how often."""
        name = run.name
        if name in self.world.runs:
            self._after_commit(name, done)
        elif name in self.disk.runs:
            done()
        elif run.parent and run.parent not in self.world.runs:
            refused(f"parent `{run.parent}` has ended")
        else:
            self.perform([do.PutRun(run)])
            self._after_commit(name, done)

    def abort(self, name: str, done: Callable[[], None]) -> None:
        self.perform(runs.abort(self.world, name, "asked by a user", self.clock.now))
        self._after_commit(name, done)

    def change_app(
        self, change: Callable[[pb.App | None], pb.App], name: AppName, done: Callable[[], None]
    ) -> None:
        """Deploy, update or delete. A refusal counts as done."""
        try:
            app = change(self.world.apps.get(name))
        except CallmeshError as refusal:
            self._tell(f"refused: {refusal}")
            done()
            return
        self.perform([do.PutApp(app)], done)

    # Sessions

    def open_session(
        self, hello: node_pb2.NodeHello, line: End[node_pb2.ServerMessage]
    ) -> Callable[[node_pb2.AgentMessage], None]:
        node = hello.node
        old = self.lines.get(node)
        if old is not None:
            old.cut(0.0)
        self.lines[node] = line
        welcome = node_pb2.NodeWelcome(epoch=self.disk.epoch)
        line.send(node_pb2.ServerMessage(welcome=welcome))
        self.perform(liveness.joined(self.world, hello, self.clock.now, LEASE))
        self._push(DesiredKey(node))
        self._push_view(line)
        life = self._life

        def receive(message: node_pb2.AgentMessage) -> None:
            if self._life == life and self.lines.get(node) is line:
                self._received(node, message)

        return receive

    def close_session(self, node: str, line: End[node_pb2.ServerMessage]) -> None:
        if self.alive and self.lines.get(node) is line:
            del self.lines[node]
            self.perform(liveness.disconnected(self.world, node))

    def _received(self, node: str, message: node_pb2.AgentMessage) -> None:
        now = self.clock.now
        self.ledger.renew(node, now + LEASE)
        match message.WhichOneof("message"):
            case "instance":
                report = message.instance
                state = 0 if report.gone else report.status.state
                self._checks.said(report.id, state)
                self.perform(instances.reported(self.world, node, report, now))
            case "attempt":
                self.perform(attempt_reports.reported(self.world, node, message.attempt, now))
            case "instances_complete":
                self.perform(liveness.instances_complete(self.world, node, now))
            case "attempts_complete":
                self.perform(liveness.attempts_complete(self.world, node, now))

    # Loop

    def perform(
        self, actions: Iterable[do.Action], done: Callable[[], None] = lambda: None
    ) -> None:
        group: list[do.StateAction] = []
        after: list[tuple[str, Callable[[], None]]] = []
        for action in actions:
            match action:
                case do.PutRun(run, durable):
                    self._mark(self.ledger.apply(action))
                    if durable:
                        self._lazy.pop(run.name, None)
                        group.append(action)
                    else:
                        self._put_lazy(run.name, action)
                case do.PutApp() | do.PutInstance() | do.RemoveApp() | do.RemoveInstance():
                    self._mark(self.ledger.apply(action))
                    group.append(action)
                case do.PutNode():
                    self._mark(self.ledger.apply(action))
                    group.append(action)
                case do.NoteReported():
                    self.ledger.apply(action)
                case do.SendPrepare(node, name, number):
                    self._prepare(node, name, number)
                case do.SendGo(node, name, fence):
                    go = node_pb2.ServerMessage(go=node_pb2.AttemptGo(run=name, fence=fence))
                    after.append((name, lambda n=node, m=go: self._send(n, m)))
                case do.SendAck(node, name, fence):
                    ack = node_pb2.ServerMessage(ack=node_pb2.AttemptAck(run=name, fence=fence))
                    after.append((name, lambda n=node, m=ack: self._send(n, m)))
                case do.SendStop(node, name, fence, reason, grace):
                    stop = node_pb2.AttemptStop(run=name, fence=fence, reason=reason)
                    stop.grace.FromNanoseconds(int(grace * 1e9))
                    self._send(node, node_pb2.ServerMessage(stop=stop))
                case do.CloseSession(node, reason):
                    self._tell(f"session of {node} is closed: {reason}")
                    line = self.lines.pop(node, None)
                    if line is not None:
                        line.cut(self._rng.uniform(0.0, 0.05))
                case do.WakeAt(key, at):
                    self._wake(key, at)
                case do.MarkDirty(key):
                    self._mark([key])
        self._write(group, done)
        for name, what in after:
            self._after_commit(name, what)

    def _write(self, group: list[do.StateAction], done: Callable[[], None]) -> None:
        names = [each.run.name for each in group if isinstance(each, do.PutRun)]
        for name in names:
            self._writes.setdefault(name, _Writes()).pending += 1

        def committed() -> None:
            for each in group:
                if isinstance(each, do.PutRun) and attempts.has_ended(each.run):
                    self._ended(each.run)
            for name in names:
                writes = self._writes[name]
                writes.pending -= 1
                if not writes.pending:
                    del self._writes[name]
                    for what in writes.then:
                        what()
            done()

        if group:
            self.disk.write(group, committed)
        else:
            done()

    def _after_commit(self, name: str, what: Callable[[], None]) -> None:
        writes = self._writes.get(name)
        if writes is None:
            what()
        else:
            writes.then.append(what)

    def _put_lazy(self, key: object, action: do.StateAction) -> None:
        if not self._lazy:
            life = self._life
            self.clock.after(LAZY, lambda: self._flush(life))
        self._lazy[key] = action

    def _flush(self, life: int) -> None:
        if life == self._life and self._lazy:
            lazy, self._lazy = self._lazy, {}
            self._write(list(lazy.values()), lambda: None)

    def _mark(self, keys: Iterable[Key]) -> None:
        self._dirty |= dict.fromkeys(keys)
        if self._dirty and not self._turn_is_due:
            self._turn_is_due = True
            life = self._life
            self.clock.after(TURN, lambda: self._turn(life))

    def _wake(self, key: Key, at: float) -> None:
        """Of several wakes of a key the earliest counts, as in the server's loop."""
        known = self._wakes.get(key)
        if known is not None and known <= at:
            return
        self._wakes[key] = at
        life = self._life

        def wake() -> None:
            if life == self._life and self._wakes.get(key) == at:
                del self._wakes[key]
                self._mark([key])

        self.clock.at(at + 0.001, wake)

    def _turn(self, life: int) -> None:
        if life != self._life:
            return
        pushes: dict[Key, None] = {}
        for _ in range(5_000):
            if not self._dirty:
                break
            key = next(iter(self._dirty))
            del self._dirty[key]
            if isinstance(key, (ViewKey, DesiredKey)):
                pushes[key] = None
            else:
                self.perform(decide(self.world, key, self.clock.now, self._ids))
        else:
            raise Broken(f"deciding never ends: {list(self._dirty)[:3]}")
        self._turn_is_due = False
        self._checks.decided(self.world)
        for key in pushes:
            self._push(key)

    # Sending

    def _push(self, key: Key) -> None:
        if isinstance(key, DesiredKey):
            self._version += 1
            wanted = view.desired_set(self.world, key.node, self._version)
            self._send(key.node, node_pb2.ServerMessage(desired=wanted))
        elif isinstance(key, ViewKey):
            for line in self.lines.values():
                self._push_view(line)

    def _push_view(self, line: End[node_pb2.ServerMessage]) -> None:
        if not liveness.is_settled(self.world):
            return
        self._version += 1
        seen = view.mesh_view(self.world, self._version)
        self._checks.view_pushed([each.service for each in seen.services])
        line.send(node_pb2.ServerMessage(mesh_view=seen))

    def _prepare(self, node: str, name: str, number: int) -> None:
        run = self.world.runs[name]
        order = node_pb2.AttemptOrder(
            run=name,
            number=number,
            fence=run.attempts[number - 1].fence,
            task=self._tasks[run.task],
            project=run.project,
            domain=run.domain,
            parent=run.parent,
        )
        self._send(node, node_pb2.ServerMessage(prepare=order))

    def _send(self, node: str, message: node_pb2.ServerMessage) -> None:
        line = self.lines.get(node)
        if line is not None:
            self._see(node, message)
            line.send(message)


__all__ = ["LEASE", "RunKey", "SimServer", "app_name", "revisions"]
