"""A node's core under test: events in, instructions out, a clock that only the test moves."""

from __future__ import annotations

from typing import TypeVar

import pytest

from callmesh_agent.core import events, step
from callmesh_agent.core import instructions as do
from callmesh_agent.core.state import State
from callmeshpb.v1 import common_pb2, node_pb2, scheduler_pb2, supervisor_pb2

Kind = TypeVar("Kind")


class CoreNode:
    """One node's state, and everything that it said should be done."""

    def __init__(self) -> None:
        self.state = State(incarnation="t", base_hash="b")
        self.now = 1000.0
        self.timers: dict[events.Key, float] = {}
        self.done: list[do.Instruction] = []
        self._pid = 100
        self._fence = 0

    def feed(self, *happened: events.Event) -> list[do.Instruction]:
        """Let events happen; what there is to do about them."""
        made: list[do.Instruction] = []
        for event in happened:
            before = self.state
            self.state, instructions = step(before, event, self.now)
            made += instructions
        for each in made:
            if isinstance(each, do.WakeAt):
                self.timers.pop(each.key, None)
                if each.at is not None:
                    self.timers[each.key] = each.at
        self.done += made
        return made

    def advance(self, seconds: float) -> list[do.Instruction]:
        """Let time pass, with the timers that are due."""
        until = self.now + seconds
        made: list[do.Instruction] = []
        while due := [(at, key) for key, at in self.timers.items() if at <= until]:
            at, key = min(due)
            del self.timers[key]
            self.now = max(self.now, at)
            made += self.feed(events.Woke(key))
        self.now = until
        return made

    def supervised(self, *processes: supervisor_pb2.Process) -> list[do.Instruction]:
        return self.feed(events.SupervisorConnected(processes))

    def process(self, process_id: str, **fields: object) -> supervisor_pb2.Process:
        """A process that runs, with a pid of its own."""
        self._pid += 1
        made = supervisor_pb2.Process(process_id=process_id, pid=self._pid, running=True)
        made.MergeFrom(supervisor_pb2.Process(**fields))  # type: ignore[arg-type]
        return made

    def exit(
        self, process: supervisor_pb2.Process, status: int, *tail: str
    ) -> list[do.Instruction]:
        ended = supervisor_pb2.Process()
        ended.CopyFrom(process)
        ended.running = False
        ended.exit_status = status
        return self.feed(events.ProcessExited(ended, tail))

    def want(self, *desired: node_pb2.DesiredInstance) -> list[do.Instruction]:
        return self.feed(events.DesiredReceived(node_pb2.DesiredSet(instances=desired)))

    def started(self, instance_id: str, port: int = 9000) -> supervisor_pb2.Process:
        """Answer the start of an instance; its process."""
        process = self.process(f"app/{instance_id}", port=port)
        self.feed(events.ProcessStarted(process))
        return process

    def ready(self, instance_id: str, port: int = 9000) -> list[do.Instruction]:
        generation = self.state.instances[instance_id].generation
        return self.feed(events.InstanceReady(instance_id, generation, "127.0.0.1", port))

    def base_ready(self) -> list[do.Instruction]:
        return self.zygote_ready("base")

    def zygote_ready(self, zygote_id: str) -> list[do.Instruction]:
        state = supervisor_pb2.ZygoteState(
            process_id=f"zygote/{zygote_id}", outcome=supervisor_pb2.ZYGOTE_OUTCOME_READY
        )
        return self.feed(events.ZygoteReported(state))

    def order(self, run: str, **fields: object) -> node_pb2.AttemptOrder:
        """An order of a task whose code is here already."""
        self._fence += 1
        order = node_pb2.AttemptOrder(
            run=run,
            number=1,
            fence=common_pb2.Fence(epoch=1, counter=self._fence),
            project="default",
            domain="development",
            task=scheduler_pb2.Task(
                environment=scheduler_pb2.TaskEnvironmentSpec(
                    name="env", version="1", code=common_pb2.Code(module="work")
                ),
                spec=scheduler_pb2.TaskSpec(name="env.f", function="f"),
            ),
        )
        order.MergeFrom(node_pb2.AttemptOrder(**fields))  # type: ignore[arg-type]
        return order

    def worker(self) -> str:
        """Bring up the zygotes and the worker that were asked for; its id."""
        self.base_ready()
        for zygote in list(self.state.zygotes.values()):
            if zygote.pool:
                self.zygote_ready(zygote.id)
        (worker_id,) = [w.id for w in self.state.workers.values() if not w.connected]
        self.connect(worker_id)
        return worker_id

    def connect(
        self, worker_id: str, report: node_pb2.AttemptReport | None = None
    ) -> list[do.Instruction]:
        process = self.process(f"worker/{worker_id}")
        return self.feed(events.ProcessStarted(process), events.WorkerConnected(worker_id, report))

    def says(
        self, worker_id: str, order: node_pb2.AttemptOrder, phase: scheduler_pb2.AttemptPhase
    ) -> list[do.Instruction]:
        return self.feed(events.WorkerReported(worker_id, report_of(order, phase, worker_id)))


def report_of(
    order: node_pb2.AttemptOrder, phase: scheduler_pb2.AttemptPhase, worker: str = ""
) -> node_pb2.AttemptReport:
    return node_pb2.AttemptReport(
        run=order.run, number=order.number, fence=order.fence, phase=phase, worker=worker
    )


def desired(
    instance_id: str = "web-1-aaaaa",
    intent: scheduler_pb2.InstanceIntent = scheduler_pb2.INSTANCE_INTENT_RUN,
    **spec: object,
) -> node_pb2.DesiredInstance:
    made = scheduler_pb2.AppSpec(
        project="default",
        domain="development",
        name="web",
        kind=scheduler_pb2.APP_KIND_COMMAND,
        args=["serve"],
    )
    made.MergeFrom(scheduler_pb2.AppSpec(**spec))  # type: ignore[arg-type]
    instance = scheduler_pb2.Instance(
        id=instance_id, app="web", intent=intent, fence=common_pb2.Fence(epoch=1, counter=1)
    )
    return node_pb2.DesiredInstance(instance=instance, spec=made)


def of(kind: type[Kind], instructions: list[do.Instruction]) -> list[Kind]:
    """Those instructions of one kind."""
    return [each for each in instructions if isinstance(each, kind)]


class Tools:
    """The functions above, for tests that take them as a fixture."""

    desired = staticmethod(desired)
    of = staticmethod(of)
    report_of = staticmethod(report_of)


@pytest.fixture
def node() -> CoreNode:
    """A node whose supervisor answers, with nothing on it."""
    made = CoreNode()
    made.supervised()
    made.feed(events.SessionOpened())
    return made


@pytest.fixture
def fresh_node() -> CoreNode:
    """A node whose agent has just started and knows nothing."""
    return CoreNode()


@pytest.fixture
def tools() -> type[Tools]:
    return Tools
