"""The real agent core with a simulated driver.

Stands for the agent's `driver`, `session`, `supervision`, `probe` and `socket`.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable

from google.protobuf.message import Message
from sim_clock import Clock, Timer
from sim_line import End, Line
from sim_machine import Machine, Start, idle
from sim_server import LEASE, SimServer
from sim_workloads import AppProcess, UserCode, Worker

from callmesh_agent.core import events, step
from callmesh_agent.core import instructions as do
from callmesh_agent.core.state import State
from callmesh_wire.backoff import Backoff
from callmeshpb.v1 import node_pb2, supervisor_pb2
from callmeshpb.v1 import scheduler_pb2 as pb

RECONNECT = Backoff(base=0.05, cap=5.0)
PROBE = 0.05
SLOTS = 3


class SimAgent:
    """One life after another on one machine."""

    def __init__(
        self,
        machine: Machine,
        server: SimServer,
        code: UserCode,
        see: Callable[[str, Message], None],
    ) -> None:
        """``see`` is shown every message to the server."""
        self._machine = machine
        self._clock: Clock = machine.clock
        self._rng: random.Random = machine.rng
        self._server = server
        self._code = code
        self._see = see
        self.alive = False
        self.accepts = False
        # No session until then.
        self.partitioned_until = 0.0
        self._life = 0
        self._line: Line | None = None
        self.start()

    # Life

    def start(self) -> None:
        if self.alive:
            return
        self.alive = True
        self._life += 1
        self.state = State(incarnation=f"{self._machine.name}i{self._life}")
        self._waiting: deque[events.Event] = deque()
        self._busy = False
        self._timers: dict[events.Key, Timer] = {}
        self._probes: dict[str, Timer] = {}
        self._failures = 0
        self._machine.listener = self
        self.deliver(events.SpoolRead(tuple(self._machine.spool.values())))
        self._after(0.01, self.supervisor_found)

    def crash(self) -> None:
        if not self.alive:
            return
        self.alive = False
        self.accepts = False
        self._life += 1
        self._machine.listener = None
        for timer in [*self._timers.values(), *self._probes.values()]:
            timer.cancel()
        if self._line is not None:
            self._line.cut(self._rng.uniform(0.0, 0.05), None)
            self._line = None
        for process in self._machine.living("worker"):
            if isinstance(process.workload, Worker):
                process.workload.agent_gone(self)

    def deliver(self, event: events.Event) -> None:
        if not self.alive:
            return
        self._waiting.append(event)
        if self._busy:
            return
        self._busy = True
        while self._waiting:
            self.state, instructions = step(self.state, self._waiting.popleft(), self._clock.now)
            for each in instructions:
                self._perform(each)
        self._busy = False

    # The supervisor

    def exited(self, record: supervisor_pb2.Process) -> None:
        if self.accepts:
            self.deliver(events.ProcessExited(record, ("its last words",)))

    def zygote(self, state: supervisor_pb2.ZygoteState) -> None:
        if self.accepts:
            self.deliver(events.ZygoteReported(state))

    def supervisor_lost(self) -> None:
        self.deliver(events.SupervisorLost())

    def supervisor_found(self) -> None:
        if not self._machine.supervised:
            return
        self.deliver(events.SupervisorConnected(self._machine.listed()))
        for process in list(self._machine.processes.values()):
            if process.zygote is not None and process.alive:
                self.deliver(events.ZygoteReported(process.zygote))
            if not process.alive:
                self.deliver(events.ProcessExited(process.record, ()))
        if not self.accepts:
            self.accepts = True
            self.deliver(events.EndpointsChanged({}))
            self._after(0.0, self._connect)
            self._after(0.1, lambda: self.deliver(events.Warmed()))

    # The session

    def cut(self, server_notices: float | None, down_until: float = 0.0) -> None:
        self.partitioned_until = down_until
        if self._line is not None:
            self._line.cut(server_notices, self._rng.uniform(0.0, 0.5))

    def _connect(self) -> None:
        if self._line is not None and self._line.is_open:
            return
        if not self._server.alive or self._clock.now < self.partitioned_until:
            self._failures += 1
            delay = RECONNECT.jittered(self._failures, self._rng.random)
            self._after(delay, self._connect)
            return
        self._failures = 0
        life, server = self._life, self._server
        receive: list[Callable[[node_pb2.AgentMessage], None]] = []
        to_server: End[node_pb2.AgentMessage] = End(
            self._clock, self._rng, lambda m: receive[0](m), lambda: closed_at_server()
        )
        to_node: End[node_pb2.ServerMessage] = End(
            self._clock,
            self._rng,
            lambda m: self._life == life and self._received(m),
            lambda: self._life == life and self._closed(line),
        )
        line = Line(to_server, to_node)
        self._line = line

        def closed_at_server() -> None:
            server.close_session(self._machine.name, to_node)

        receive.append(server.open_session(self._hello(), to_node))

    def _closed(self, line: Line) -> None:
        line.cut(None, None)
        if self._line is line:
            self._line = None
            if self.state.session:
                self.deliver(events.SessionClosed())
            self._after(RECONNECT.jittered(0, self._rng.random), self._connect)

    def _received(self, message: node_pb2.ServerMessage) -> None:
        match message.WhichOneof("message"):
            case "welcome":
                self.deliver(events.SessionOpened())
                self._renew(self._line)
            case "desired":
                self.deliver(events.DesiredReceived(message.desired))
            case "mesh_view":
                endpoints = {
                    each.service.mesh_name: each.service.endpoint
                    for each in message.mesh_view.services
                }
                self.deliver(events.EndpointsChanged(endpoints))
            case "prepare":
                self.deliver(events.AttemptOrdered(message.prepare))
            case "go":
                self.deliver(events.AttemptReleased(message.go))
            case "stop":
                self.deliver(events.AttemptStopRequested(message.stop))
            case "ack":
                self.deliver(events.AttemptAcknowledged(message.ack))

    def _renew(self, line: Line | None) -> None:
        if line is not None and line is self._line and line.is_open:
            self._send(node_pb2.AgentMessage(lease=node_pb2.LeaseRenewal()))
            self._after(LEASE / 3, lambda: self._renew(line))

    def _send(self, message: node_pb2.AgentMessage) -> None:
        if self._line is not None:
            self._see(f"{self._machine.name}>", message)
            self._line.to_server.send(message)

    def _hello(self) -> node_pb2.NodeHello:
        return node_pb2.NodeHello(
            node=self._machine.name,
            protocol_version=1,
            incarnation=self.state.incarnation,
            capacity=pb.NodeCapacity(slots=SLOTS, memory=8 << 30, cpu=2.0, shared_cpu=True),
        )

    # Instructions

    def _perform(self, instruction: do.Instruction) -> None:
        match instruction:
            case do.SendPrepare(worker_id, order):
                self._to_worker(worker_id, order)
            case do.SendGo(worker_id, go):
                self._to_worker(worker_id, go)
            case do.SendAck(worker_id, ack):
                self._to_worker(worker_id, ack)
            case do.ReportAttempt(report):
                self._send(node_pb2.AgentMessage(attempt=report))
            case do.ReportInstance(report):
                self._send(node_pb2.AgentMessage(instance=report))
            case do.ReportInstancesComplete():
                complete = node_pb2.InstancesComplete()
                self._send(node_pb2.AgentMessage(instances_complete=complete))
            case do.ReportAttemptsComplete():
                finished = node_pb2.AttemptsComplete()
                self._send(node_pb2.AgentMessage(attempts_complete=finished))
            case do.WakeAt(key, at):
                self._wake_at(key, at)
            case _:
                self._perform_slow(instruction)

    def _perform_slow(self, instruction: do.Instruction) -> None:
        match instruction:
            case do.UnpackBundle(digest):
                self._answer((0.001, 0.3), lambda: events.BundleUnpacked(digest))
            case do.StartInstance(instance_id, zygote):
                self._start(self._instance(instance_id, zygote))
            case do.StartWorker(worker_id, zygote):
                self._start(self._worker(worker_id, zygote))
            case do.StartZygote(zygote_id, pool, parent):
                labels = {"pool": pool} if pool else {}
                above = f"zygote/{parent}" if parent else ""
                self._start(
                    Start(f"zygote/{zygote_id}", pool, labels, idle, is_zygote=True, parent=above)
                )
            case do.SignalProcess(process_id, number, kill_after):
                self._machine.signal(process_id, number, kill_after)
            case do.ForgetProcess(process_id):
                self._machine.forget(process_id)
            case do.Probe(instance_id, generation):
                self._probe(instance_id, generation)
            case do.EndProbe(instance_id):
                timer = self._probes.pop(instance_id, None)
                if timer is not None:
                    timer.cancel()
            case do.LeaveRotation(instance_id, generation):
                self._answer((0.001, 0.05), lambda: events.RotationLeft(instance_id, generation))
            case do.AwaitDrained(instance_id, generation):
                self._answer((0.0, 4.0), lambda: events.ConnectionsGone(instance_id, generation))
            case do.ForgetSpooled(run, epoch, counter):
                self._machine.spool.pop(f"{run}.{epoch}.{counter}", None)

    def _start(self, request: Start) -> None:
        life = self._life
        process_id = request.process_id

        def started(record: supervisor_pb2.Process) -> None:
            if life == self._life:
                self.deliver(events.ProcessStarted(record))

        def refused(message: str, lost: bool) -> None:
            if life == self._life:
                self.deliver(events.ProcessRefused(process_id, message, lost=lost))

        self._machine.start(request, started, refused)

    def _instance(self, instance_id: str, zygote: str) -> Start:
        instance = self.state.instances[instance_id]
        assert instance.desired is not None
        spec, fence = instance.desired.spec, instance.desired.instance.fence
        behaviour = spec.args[0]
        return Start(
            f"app/{instance_id}",
            instance.spec_hash,
            {"fence": f"{fence.epoch}.{fence.counter}"},
            lambda process: AppProcess(self._machine, process, behaviour),
            parent=f"zygote/{zygote}" if zygote else "",
            fixed_port=spec.port,
        )

    def _worker(self, worker_id: str, zygote: str) -> Start:
        pool = self.state.workers[worker_id].pool
        machine = self._machine
        return Start(
            f"worker/{worker_id}",
            pool,
            {"pool": pool},
            lambda process: Worker(
                machine, process, lambda: self if self.alive else None, self._code
            ),
            parent=f"zygote/{zygote}" if zygote else "",
        )

    def _to_worker(self, worker_id: str, message: object) -> None:
        process = self._machine.processes.get(f"worker/{worker_id}")
        if process is not None and process.alive and isinstance(process.workload, Worker):
            process.workload.receive(self, message)

    def _probe(self, instance_id: str, generation: int) -> None:
        process = self._machine.processes.get(f"app/{instance_id}")
        workload = process.workload if process is not None and process.alive else None
        if process is not None and isinstance(workload, AppProcess) and workload.listens:
            port = process.record.port
            ready = events.InstanceReady(instance_id, generation, "127.0.0.1", port)
            self._after(0.0, lambda: self.deliver(ready))
            return
        self._probes[instance_id] = self._after(PROBE, lambda: self._probe(instance_id, generation))

    def _wake_at(self, key: events.Key, at: float | None) -> None:
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()
        if at is not None:
            self._timers[key] = self._clock.at(at, lambda: self._woke(key))

    def _woke(self, key: events.Key) -> None:
        self._timers.pop(key, None)
        self.deliver(events.Woke(key))

    def _answer(self, within: tuple[float, float], event: Callable[[], events.Event]) -> None:
        self._after(self._rng.uniform(*within), lambda: self.deliver(event()))

    def _after(self, seconds: float, what: Callable[[], object]) -> Timer:
        life = self._life

        def run() -> None:
            if life == self._life and self.alive:
                what()

        return self._clock.after(seconds, run)
