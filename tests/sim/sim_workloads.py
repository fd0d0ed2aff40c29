"""What runs in processes: instances of apps, and task workers with their line to the agent.

Stands for users' apps and for `callmesh.execute`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from sim_machine import Machine, Process

from callmesh_agent.core import events
from callmeshpb.v1 import node_pb2
from callmeshpb.v1 import scheduler_pb2 as pb

SPOOL_AFTER = 10.0
LEAVE_AFTER = 60.0
Key = tuple[str, int, int]


class AppProcess:
    """An instance: listens after a while, or exits if its revision is broken."""

    def __init__(self, machine: Machine, process: Process, behaviour: str) -> None:
        self._machine = machine
        self._process = process
        self._behaviour = behaviour
        self.listens = False
        self._stubborn = machine.rng.random() < 0.1

    def began(self) -> None:
        clock, rng = self._machine.clock, self._machine.rng
        record = self._process.record
        if self._behaviour == "broken":
            clock.after(
                rng.uniform(0.05, 0.3),
                lambda: self._machine.exit(record.process_id, record.pid, 1),
            )
        else:
            clock.after(rng.uniform(0.05, 0.6), self._listen)

    def _listen(self) -> None:
        self.listens = self._process.alive

    def terminate(self) -> bool:
        return not self._stubborn

    def died(self) -> None:
        self.listens = False


class AgentSide(Protocol):
    """What a worker sees of its agent."""

    accepts: bool

    def deliver(self, event: events.Event) -> None: ...


class UserCode(Protocol):
    """Executes attempts: `finish` is called with the end, unless the process dies before."""

    def execute(
        self,
        order: node_pb2.AttemptOrder,
        report: node_pb2.AttemptReport,
        finish: Callable[[node_pb2.AttemptReport], None],
    ) -> None: ...


class Worker:
    """A task worker, as `callmesh.execute` is one."""

    def __init__(
        self,
        machine: Machine,
        process: Process,
        agent: Callable[[], AgentSide | None],
        code: UserCode,
    ) -> None:
        self._machine = machine
        self._process = process
        self._agent = agent
        self._code = code
        self._line: AgentSide | None = None
        self._without_line_since = machine.clock.now
        self._not_before = 0.0
        self._prepared: dict[Key, node_pb2.AttemptOrder] = {}
        self._reports: dict[Key, node_pb2.AttemptReport] = {}
        self._executing: Key | None = None

    @property
    def id(self) -> str:
        return self._process.record.process_id.removeprefix("worker/")

    @property
    def executing(self) -> str:
        """The run whose attempt it executes, or ""."""
        return self._executing[0] if self._executing else ""

    def holds(self, key: Key) -> bool:
        """Whether it executes an attempt, or has something to say about it."""
        return self._executing == key or key in self._reports

    # Its life

    def began(self) -> None:
        self._machine.clock.after(self._machine.rng.uniform(0.001, 0.05), self._look_for_agent)

    def terminate(self) -> bool:
        if self._executing is not None:
            # The agent asked for this end: it says itself what it was.
            self._reports.pop(self._executing, None)
            self._executing = None
        if self._line is None:
            self._spool()
        return True

    def died(self) -> None:
        line, self._line = self._line, None
        self._executing = None
        if line is not None:
            gone = events.WorkerDisconnected(self.id)
            self._machine.clock.after(0.0005, lambda: line.accepts and line.deliver(gone))

    def agent_gone(self, agent: AgentSide) -> None:
        if self._line is agent:
            self._line = None
            self._without_line_since = self._machine.clock.now
            if self._executing is None:
                self._prepared.clear()
            self._machine.clock.after(self._machine.rng.uniform(0.02, 0.5), self._look_for_agent)

    def _look_for_agent(self) -> None:
        if not self._process.alive or self._line is not None:
            return
        agent = self._agent()
        if agent is not None and agent.accepts:
            self._line = agent
            self._not_before = 0.0
            held = list(self._reports.values())
            self._say(events.WorkerConnected(self.id, held[0] if held else None))
            for report in held[1:]:
                self._say(events.WorkerReported(self.id, report))
            return
        waited = self._machine.clock.now - self._without_line_since
        if waited > SPOOL_AFTER:
            self._spool()
        if waited > LEAVE_AFTER and self._executing is None:
            record = self._process.record
            self._machine.exit(record.process_id, record.pid, 0)
            return
        self._machine.clock.after(self._machine.rng.uniform(0.1, 1.0), self._look_for_agent)

    def _spool(self) -> None:
        for (run, epoch, counter), report in self._reports.items():
            if report.phase != pb.ATTEMPT_PHASE_RUNNING:
                self._machine.spool[f"{run}.{epoch}.{counter}"] = report

    # Orders

    def receive(self, agent: AgentSide, message: object) -> None:
        """A message of the agent, in its order."""
        at = max(self._not_before, self._machine.clock.now + 0.0002)
        self._not_before = at

        def arrive() -> None:
            if self._process.alive and self._line is agent:
                self._handle(message)

        self._machine.clock.at(at, arrive)

    def _handle(self, message: object) -> None:
        match message:
            case node_pb2.AttemptOrder():
                self._prepared[_key(message)] = message
            case node_pb2.AttemptGo():
                order = self._prepared.pop(_key(message), None)
                if order is not None and self._executing is None:
                    self._execute(order)
            case node_pb2.AttemptAck():
                key = _key(message)
                self._reports.pop(key, None)
                self._machine.spool.pop(f"{key[0]}.{key[1]}.{key[2]}", None)

    def _execute(self, order: node_pb2.AttemptOrder) -> None:
        key = _key(order)
        self._machine.checks.executes(order.run, (order.fence.epoch, order.fence.counter))
        self._executing = key
        running = node_pb2.AttemptReport(
            run=order.run,
            number=order.number,
            fence=order.fence,
            phase=pb.ATTEMPT_PHASE_RUNNING,
            worker=self.id,
        )
        running.started_at.FromNanoseconds(int(self._machine.clock.now * 1e9))
        self._report(key, running)

        def finish(ended: node_pb2.AttemptReport) -> None:
            if self._executing == key:
                self._executing = None
                self._report(key, ended)

        self._code.execute(order, running, finish)

    def _report(self, key: Key, report: node_pb2.AttemptReport) -> None:
        self._reports[key] = report
        self._say(events.WorkerReported(self.id, report))

    def _say(self, event: events.Event) -> None:
        line = self._line
        if line is None:
            return
        at = max(self._not_before, self._machine.clock.now + 0.0002)
        self._not_before = at
        self._machine.clock.at(at, lambda: line.accepts and line.deliver(event))


def _key(
    message: node_pb2.AttemptOrder | node_pb2.AttemptGo | node_pb2.AttemptAck,
) -> Key:
    return message.run, message.fence.epoch, message.fence.counter
