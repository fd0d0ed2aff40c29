"""A server core without its edge: a ledger, a clock, and a loop over dirty keys.

Every decision is checked for purity: the world is the same before and after it.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterable

from google.protobuf.duration_pb2 import Duration

from callmesh_server.core import actions as do
from callmesh_server.core import attempt_reports, instances, liveness, revisions, runs, view
from callmesh_server.core.decide import decide
from callmesh_server.core.ledger import Ledger
from callmesh_server.core.times import stamp
from callmesh_server.core.world import Key, World
from callmesh_wire.names import AppName
from callmeshpb.v1 import common_pb2, node_pb2
from callmeshpb.v1 import scheduler_pb2 as pb

SENDS = (do.SendPrepare, do.SendGo, do.SendStop, do.SendAck, do.CloseSession)
STATE = (
    do.PutApp,
    do.RemoveApp,
    do.PutInstance,
    do.RemoveInstance,
    do.PutRun,
    do.PutNode,
    do.RemoveNode,
    do.NoteReported,
)
LEASE = 10.0
MIB = 1024 * 1024
RUN, DRAIN, STOP = (
    pb.INSTANCE_INTENT_RUN,
    pb.INSTANCE_INTENT_DRAIN,
    pb.INSTANCE_INTENT_STOP,
)


class CountingIds:
    """Fences and suffixes that can be foretold."""

    def __init__(self, epoch: int = 1) -> None:
        self.epoch = epoch
        self._fences = itertools.count(1)
        self._suffixes = itertools.count(1)

    def next_fence(self) -> common_pb2.Fence:
        return common_pb2.Fence(epoch=self.epoch, counter=next(self._fences))

    def suffix(self) -> str:
        return f"{next(self._suffixes):05d}"


def fingerprint(world: World) -> object:
    """Everything that a decision might have changed, by value."""
    records = (world.apps, world.instances, world.runs, world.tasks, world.externals)
    return (
        [
            [(key, record.SerializeToString(deterministic=True)) for key, record in each.items()]
            for each in records
        ],
        [
            (
                key,
                state.record.SerializeToString(deterministic=True),
                state.lease_until,
                state.lost,
                state.session,
            )
            for key, state in world.nodes.items()
        ],
        {key: sorted(value) for key, value in world.instances_of_app.items()},
        {key: sorted(value) for key, value in world.children.items()},
        {key: list(value.items()) for key, value in world.waiting.items()},
        dict(world.usage),
        {key: sorted(value) for key, value in world.reported.items()},
    )


class Core:
    """The loop that tests drive by hand."""

    def __init__(self, now: float = 1000.0, epoch: int = 1) -> None:
        self.now = now
        self.ids = CountingIds(epoch)
        self.ledger = Ledger()
        self.world = self.ledger.world
        self.sent: list[do.Action] = []
        self.ended: dict[str, list[pb.Run]] = {}
        self._dirty: dict[Key, None] = {}
        self._wakes: list[tuple[float, int, Key]] = []
        self._order = itertools.count()

    # Driving

    def perform(self, actions: Iterable[do.Action]) -> None:
        """What the edge does with actions, then until nothing is dirty."""
        self.apply(actions)
        for _ in range(10_000):
            if not self._dirty:
                return
            key = next(iter(self._dirty))
            del self._dirty[key]
            before = fingerprint(self.world)
            decided = decide(self.world, key, self.now, self.ids)
            assert fingerprint(self.world) == before, f"deciding {key} changed the world"
            self.apply(decided)
        raise AssertionError(f"it never settles: {list(self._dirty)[:5]}")

    def apply(self, actions: Iterable[do.Action]) -> None:
        for action in actions:
            if isinstance(action, STATE):
                if isinstance(action, do.PutRun) and action.run.phase in runs.attempts.FINAL_PHASES:
                    self.ended.setdefault(action.run.name, []).append(action.run)
                self.mark(self.ledger.apply(action))
            elif isinstance(action, SENDS):
                self.sent.append(action)
            elif isinstance(action, do.WakeAt):
                heapq.heappush(self._wakes, (action.at, next(self._order), action.key))
            else:
                self.mark([action.key])

    def mark(self, keys: Iterable[Key]) -> None:
        self._dirty |= dict.fromkeys(keys)

    def advance(self, seconds: float) -> None:
        """Let time pass, waking what asked for it."""
        until = self.now + seconds
        while self._wakes and self._wakes[0][0] <= until:
            at, _, key = heapq.heappop(self._wakes)
            self.now = max(self.now, at)
            self.mark([key])
            self.perform([])
        self.now = until

    def take_sent(self) -> list[do.Action]:
        """What was sent since the last call."""
        sent, self.sent = self.sent, []
        return sent

    # Events

    def join(self, name: str = "n1", *, complete: bool = True, **capacity: object) -> None:
        """A node connects; unless told otherwise it has nothing and says so."""
        self.perform(liveness.joined(self.world, hello(name, **capacity), self.now, LEASE))
        if complete:
            self.perform(liveness.instances_complete(self.world, name, self.now))
            self.perform(liveness.attempts_complete(self.world, name, self.now))

    def leave(self, name: str = "n1") -> None:
        self.perform(liveness.disconnected(self.world, name, self.now))

    def renew(self, name: str = "n1") -> None:
        self.ledger.renew(name, self.now + LEASE)

    def deploy(self, spec: pb.AppSpec) -> pb.App:
        before = self.world.apps.get(app_name(spec))
        app = revisions.deployed(before, spec, 20_000, self.now)
        self.perform([do.PutApp(app)])
        return self.app(spec.name)

    def update(self, name: str, **change: object) -> None:
        request = pb.UpdateAppRequest(name=name, **change)
        self.perform([do.PutApp(revisions.updated(self.app(name), request, self.now))])

    def delete(self, name: str) -> None:
        self.perform([do.PutApp(revisions.deleted(self.app(name), self.now))])

    def report(self, instance: str, state: int, **status: object) -> None:
        """The instance's node reports a state."""
        record = self.world.instances[instance]
        report = node_pb2.InstanceReport(id=instance, fence=record.fence)
        report.status.CopyFrom(
            pb.InstanceStatus(state=state, address="127.0.0.1", port=9000, **status)
        )
        self.perform(instances.reported(self.world, record.node, report, self.now))

    def gone(self, instance: str) -> None:
        record = self.world.instances[instance]
        report = node_pb2.InstanceReport(id=instance, fence=record.fence, gone=True)
        self.perform(instances.reported(self.world, record.node, report, self.now))

    def ready(self, *names: str) -> None:
        """Every running instance of these apps becomes ready."""
        for name in names:
            for each in self.instances(name):
                if each.intent == pb.INSTANCE_INTENT_RUN:
                    self.report(each.id, pb.INSTANCE_STATE_READY)

    def all_gone(self, name: str) -> None:
        """Every instance of the app that was told to go has gone."""
        for each in self.instances(name):
            if each.intent != pb.INSTANCE_INTENT_RUN:
                self.gone(each.id)

    def submit(self, name: str, task: pb.Task, **fields: object) -> pb.Run:
        """A run is recorded and decided; returns it as it is then."""
        self.ledger.put_task(task)
        run = pb.Run(
            name=name,
            project=task.environment.project,
            domain=task.environment.domain,
            task=task.spec.name,
            task_version=task.environment.version,
            phase=pb.RUN_PHASE_QUEUED,
            created_at=stamp(self.now),
            **fields,
        )
        self.perform([do.PutRun(run)])
        return self.run(name)

    def attempt(self, name: str, phase: int, *, number: int = 0, **fields: object) -> None:
        """The node of a run's attempt (the last, or ``number``) reports a phase."""
        run = self.run(name)
        attempt = run.attempts[number - 1] if number else run.attempts[-1]
        report = node_pb2.AttemptReport(
            run=name, number=attempt.number, fence=attempt.fence, phase=phase, **fields
        )
        self.perform(attempt_reports.reported(self.world, attempt.node, report, self.now))

    # Looking

    def app(self, name: str) -> pb.App:
        return self.world.apps[AppName("default", "development", name)]

    def instances(self, name: str) -> list[pb.Instance]:
        return self.world.instances_of(AppName("default", "development", name))

    def only(self, name: str) -> pb.Instance:
        (instance,) = self.instances(name)
        return instance

    def run(self, name: str) -> pb.Run:
        return self.world.runs[name] if name in self.world.runs else self.ended[name][-1]

    def said(self, name: str, kind: str = "Ready") -> tuple[str, str]:
        """Reason and message of an app's condition."""
        (found,) = [each for each in self.app(name).conditions if each.type == kind]
        return found.reason, found.message


def hello(
    name: str = "n1",
    *,
    slots: int = 4,
    memory: int = 1000 * MIB,
    cpu: float = 2.0,
    shared_cpu: bool = True,
) -> node_pb2.NodeHello:
    return node_pb2.NodeHello(
        node=name,
        incarnation=f"{name}-1",
        capacity=pb.NodeCapacity(
            slots=slots,
            memory=memory,
            cpu=cpu,
            shared_cpu=shared_cpu,
            python_versions=["3.11", "3.12"],
        ),
    )


def app_name(spec: pb.AppSpec) -> AppName:
    return AppName(spec.project, spec.domain, spec.name)


def app_spec(name: str = "web", **fields: object) -> pb.AppSpec:
    fields.setdefault("min_replicas", 1)
    return pb.AppSpec(project="default", domain="development", name=name, **fields)


def task(name: str = "env.work", **fields: object) -> pb.Task:
    environment = pb.TaskEnvironmentSpec(
        project="default",
        domain="development",
        name=name.split(".")[0],
        version="v1",
        depends_on=fields.pop("depends_on", []),
    )
    return pb.Task(environment=environment, spec=pb.TaskSpec(name=name, **fields))


def seconds(amount: float) -> Duration:
    duration = Duration()
    duration.FromNanoseconds(int(amount * 1e9))
    return duration


def intents(core: Core, name: str = "web") -> dict[str, int]:
    return {each.id: each.intent for each in core.instances(name)}


def endpoints(core: Core, name: str = "web") -> list[tuple[str, int]]:
    (found,) = [each for each in core.world.apps if each.name == name]
    seen = view.service_view(core.world, found)
    assert seen is not None
    return [(each.instance_id, each.health) for each in seen.service.endpoints]
