"""The real server, but for its doors and its disk.

What runs here are the product's `Loop`, `Applier`, `RunWrites`, `Live`,
`Sessions`, `Pushes`, `Routed` and all of `core`, put together as `server.Parts`
does. Simulated are the store (`sim_disk`), the network (`sim_net`) and the
handlers of users' calls.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sim_checks import Checks
from sim_clock import Clock, Process
from sim_disk import Disk, SimDatabase
from sim_net import Connection, Net

from callmesh_server.api.addresses import Addresses
from callmesh_server.apply import Applier
from callmesh_server.changes import Changes, RunChanged
from callmesh_server.clock import LeapWatch
from callmesh_server.core import actions as do
from callmesh_server.core import draining, runs
from callmesh_server.core.ledger import Ledger
from callmesh_server.core.times import stamp
from callmesh_server.core.world import World
from callmesh_server.live import Live
from callmesh_server.loop import Loop, ServerIds
from callmesh_server.pushes import Pushes
from callmesh_server.routed import Routed
from callmesh_server.server import _restore
from callmesh_server.sessions import Sessions, _Session
from callmesh_server.store.secrets import NO_VALUES, SecretValues
from callmesh_wire.errors import AlreadyExistsError, CallmeshError
from callmesh_wire.names import AppName
from callmeshpb.v1 import node_pb2
from callmeshpb.v1 import scheduler_pb2 as pb

LEASE = 10.0
CALL = (0.0003, 0.003)


class SimIds(ServerIds):
    """A server's ids, with names from the seed."""

    def __init__(self, epoch: int, rng: random.Random) -> None:
        super().__init__(epoch)
        self._rng = rng

    def suffix(self) -> str:
        return "".join(self._rng.choices("abcdefghijklmnopqrstuvwxyz0123456789", k=5))


class NoSecrets:
    """Nobody's tasks ask for any."""

    def values(self, *_what: object) -> SecretValues:
        return NO_VALUES


class SimServer:
    """One life after another over one disk."""

    def __init__(
        self,
        clock: Clock,
        rng: random.Random,
        checks: Checks,
        net: Net,
        tasks: dict[str, pb.Task],
        tell: Callable[[str], None],
    ) -> None:
        self.clock = clock
        self._rng = rng
        self._checks = checks
        self._net = net
        self._tasks = tasks
        self._tell = tell
        self.disk = Disk(clock, rng, checks)
        self.process: Process | None = None
        self.parts: Parts
        # Told of every start.
        self.on_start: list[Callable[[], None]] = []

    # Life

    @property
    def alive(self) -> bool:
        return self.process is not None

    @property
    def world(self) -> World:
        return self.parts.ledger.world

    def start(self) -> None:
        if self.process is not None:
            return
        self._tell("the server starts")
        self.disk.epoch += 1
        process = self.process = self.clock.process("server")
        self.clock.after(0.0, lambda: self._open(process), process)

    def crash(self) -> None:
        process, self.process = self.process, None
        if process is None:
            return
        process.killed = True
        self._net.server_died()

    def stop(self, seconds: float) -> None:
        """SIGSTOP, and SIGCONT later."""
        process = self.process
        if process is None or process.stopped:
            return
        process.stopped = True
        self._net.server_stopped()
        self.clock.after(seconds, process.go_on)

    def go_on(self) -> None:
        if self.process is not None:
            self.process.go_on()

    def leap(self, seconds: float) -> None:
        """Somebody sets the clock of its machine."""
        if self.process is not None:
            # Never so far that its nodes would not be let in.
            self.process.skew = max(-20.0, min(20.0, self.process.skew + seconds))

    def _open(self, process: Process) -> None:
        self._checks.server_started()
        self.parts = Parts(self.clock, self._rng, self._checks, self.disk, process, self._tasks)
        self._net.listen(process, self._accept)
        for each in self.on_start:
            each()

    def _accept(self, connection: Connection) -> None:
        self.clock.create_task(self._serve(connection))

    async def _serve(self, connection: Connection) -> None:
        error: CallmeshError | None = None
        serving = self.parts.sessions.serve(connection.up)
        try:
            async for batch in serving:
                for each in batch:
                    self._checks.sent(connection.node, each)
                    self._net.see(connection.node, each)
                await connection.down.send(batch)
        except CallmeshError as problem:
            error = problem
        except Exception as defect:  # noqa: BLE001 - a finding
            self._checks.defect(defect)
        finally:
            await serving.aclose()
        connection.down.finish(error)

    # Users' calls. They may be lost with the server; what is answered, is so by ``done``.

    def submit(self, run: pb.Run, done: Callable[[], None], refused: Callable[[str], None]) -> None:
        """Record a run once, whatever is asked how often."""
        self._call(lambda: self._submit(run, done, refused))

    def abort(self, name: str) -> None:
        def call() -> None:
            self.parts.perform(runs.abort(self.world, name, "asked by a user", time.time()))

        self._call(call)

    def drain(self, node: str, deadline: float) -> None:
        def call() -> None:
            if node in self.world.nodes:
                self.parts.perform(draining.begun(self.world, node, deadline, time.time()))

        self._call(call)

    def undrain(self, node: str) -> None:
        def call() -> None:
            if node in self.world.nodes:
                self.parts.perform(draining.undone(self.world, node))

        self._call(call)

    def change_app(
        self, change: Callable[[pb.App | None], pb.App], name: AppName, done: Callable[[], None]
    ) -> None:
        """Deploy, update or delete. A refusal counts as done."""

        def call() -> None:
            try:
                app = change(self.world.apps.get(name))
            except CallmeshError as refusal:
                self._tell(f"refused: {refusal}")
                done()
                return
            self.parts.perform([do.PutApp(app)], lambda _: done())

        self._call(call)

    def watch_run(self, name: str, ended: Callable[[], None]) -> None:
        """Hear of a run's end once it is on disk, for as long as this server lives."""

        def look() -> None:
            self._checks.shown(self.parts.live.shown(name))
            run = self.disk.runs.get(name)
            if run is not None and run.phase in _FINAL and self.parts.live.shown(name) is None:
                end()
                ended()

        def call() -> None:
            nonlocal end
            end = self.parts.changes.listen(RunChanged(name), look)
            look()

        end: Callable[[], None] = int
        self._call(call)

    def _call(self, what: Callable[[], None]) -> None:
        if self.process is not None:
            self.clock.after(self._rng.uniform(*CALL), what, self.process)

    def _submit(
        self, run: pb.Run, done: Callable[[], None], refused: Callable[[str], None]
    ) -> None:
        name = run.name

        def recorded(error: CallmeshError | None) -> None:
            taken = error is None or isinstance(error, AlreadyExistsError)
            if taken and name in self.disk.runs:
                done()

        if name in self.world.runs:
            self.parts.applier.flush(recorded)
        elif name in self.disk.runs:
            done()
        elif run.parent and run.parent not in self.world.runs:
            refused(f"parent `{run.parent}` has ended")
        else:
            run.created_at.CopyFrom(stamp(time.time()))
            try:
                self.parts.applier.begin_run(run, pb.Run(), self._tasks[run.task], name, recorded)
            except CallmeshError as refusal:
                self._tell(f"not taken: {refusal}")


class Parts:
    """Everything between the store and the doors."""

    def __init__(
        self,
        clock: Clock,
        rng: random.Random,
        checks: Checks,
        disk: Disk,
        process: Process,
        tasks: dict[str, pb.Task],
    ) -> None:
        database = SimDatabase(disk, process)
        epoch = disk.epoch
        database.loaded.tasks.extend(tasks.values())
        database.loaded.newest.extend(tasks.values())
        self.changes = Changes()
        self.ledger = Ledger()
        world = self.ledger.world
        self.live = Live(self.ledger, self.changes, database)
        self.routed = Routed(world, self.changes, clock.call_later)
        self.sessions = WatchedSessions(
            self.ledger, clock.create_task, routed=self.routed, epoch=epoch, lease=LEASE
        )
        self.sessions.checks = checks
        pushes = WatchedPushes(world, self.sessions, NoSecrets(), self.changes, self.routed, epoch)
        pushes.checks = checks
        self.applier = Applier(
            self.live, database, self.changes, self.sessions, NoSecrets(), lambda _: []
        )
        self.loop = WatchedLoop(
            world,
            self.applier,
            SimIds(epoch, rng),
            pushes.push,
            self.sessions.renew,
            LeapWatch(lambda: clock.now + process.skew, clock.time),
        )
        self.loop.checks = checks
        self.applier.attach(self.loop)
        self.sessions.attach(self.loop.react, self.applier.flush, pushes, lambda *_: None)
        _restore(self.live, database, Addresses(7480), LEASE)
        self.routed.restore()
        self.loop.mark(self.ledger.all_keys())
        clock.create_task(self.loop.run())

    def perform(
        self, actions: list[do.Action], done: Callable[[CallmeshError | None], None] | None = None
    ) -> None:
        """What a handler does with what it decided."""
        self.applier.perform(actions)
        self.applier.flush(done)


class WatchedSessions(Sessions):
    checks: Checks

    def _take(self, node: str, message: node_pb2.AgentMessage) -> None:
        if message.HasField("instance"):
            self.checks.said(node, message.instance)
        elif message.HasField("instances_complete"):
            self.checks.said_everything(self._ledger.world, node)
        super()._take(node, message)

    def _open(self, hello: node_pb2.NodeHello) -> _Session:
        self.checks.joined(hello.node)
        return super()._open(hello)


class WatchedPushes(Pushes):
    checks: Checks

    def _push_view(self) -> float:
        again = super()._push_view()
        view = self._log.whole()
        self.checks.view_made(view)
        if self._settled:
            self.checks.view_pushed(self._world, [each.service for each in view.services])
        return again


class WatchedLoop(Loop):
    checks: Checks

    def _turn(self) -> None:
        super()._turn()
        if not self._dirty:
            self.checks.decided(self._world)


@contextmanager
def quiet(checks: Checks) -> Iterator[None]:
    """The product's logs are not shown; an error in them is a finding."""
    logger = logging.getLogger("callmesh_server"), logging.getLogger("callmesh")
    handler = _Defects(checks)
    before = [(each.level, each.propagate) for each in logger]
    for each in logger:
        each.setLevel(logging.ERROR)
        each.propagate = False
        each.addHandler(handler)
    try:
        yield
    finally:
        for each, (level, propagate) in zip(logger, before, strict=True):
            each.removeHandler(handler)
            each.setLevel(level)
            each.propagate = propagate


class _Defects(logging.Handler):
    """What the product logs as an error is a finding."""

    def __init__(self, checks: Checks) -> None:
        super().__init__(logging.ERROR)
        self._checks = checks

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and record.exc_info[1] is not None:
            self._checks.defect(record.exc_info[1])
        else:
            self._checks.fail(f"a defect: {record.getMessage()}")


_FINAL = frozenset(
    {
        pb.RUN_PHASE_SUCCEEDED,
        pb.RUN_PHASE_FAILED,
        pb.RUN_PHASE_ABORTED,
        pb.RUN_PHASE_TIMED_OUT,
    }
)
