"""The real agent core and the real session, with a simulated driver.

What runs here are the product's `core`, `Session` and `Outbox`. Simulated are
the `driver`, `supervision`, `probe`, `dataplane` and `socket`.
"""

from __future__ import annotations

import random
import tempfile
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sim_clock import Clock, Process, Timer
from sim_machine import Machine, Start, idle
from sim_net import Net, SimLink
from sim_story import NodePlan
from sim_workloads import AppProcess, UserCode, Worker

from callmesh_agent.config import AgentSettings
from callmesh_agent.core import events, step
from callmesh_agent.core import instructions as do
from callmesh_agent.core.state import State
from callmesh_agent.heldview import HeldView
from callmesh_agent.session import Session
from callmesh_wire.errors import CallmeshError
from callmeshpb.v1 import node_pb2, supervisor_pb2
from callmeshpb.v1 import scheduler_pb2 as pb

PROBE = 0.05
# Envoy takes a view within so many seconds.
ENVOY = (0.002, 0.08)
# From a desired set to its being on disk.
WRITE = (0.001, 0.15)
_FOLDER = tempfile.TemporaryDirectory(prefix="callmesh-sim-")


@dataclass(frozen=True, slots=True, kw_only=True)
class SimSettings(AgentSettings):
    """A simulated machine's."""

    offers: pb.NodeCapacity

    def capacity(self) -> pb.NodeCapacity:
        return self.offers


class SimHeldView(HeldView):
    """Kept by the machine, instead of in a file."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self.view = node_pb2.MeshView()
        self.view.CopyFrom(machine.view)

    def save(self) -> None:
        self._machine.view.CopyFrom(self.view)


class SimAgent:
    """One life after another on one machine."""

    def __init__(
        self,
        machine: Machine,
        net: Net,
        code: UserCode,
        plan: NodePlan,
    ) -> None:
        self._machine = machine
        self._clock: Clock = machine.clock
        self._rng: random.Random = machine.rng
        self._net = net
        self._code = code
        self._skew = plan.skew
        self._settings = SimSettings(
            state_dir=Path(_FOLDER.name) / machine.name,
            runtime_dir=Path(_FOLDER.name),
            ingress_port=7480,
            pages_socket=Path(_FOLDER.name),
            version="1",
            node=machine.name,
            address=f"10.0.0.{machine.name[1:]}",
            zone=plan.zone,
            offers=pb.NodeCapacity(
                slots=plan.slots, memory=plan.memory << 30, cpu=2.0, shared_cpu=True
            ),
        )
        self.process: Process | None = None
        self.accepts = False
        # When it began, or went on.
        self.since = 0.0
        self._lives = 0
        self.start()

    # Life

    @property
    def alive(self) -> bool:
        return self.process is not None

    def start(self) -> None:
        if self.process is not None:
            return
        process = self.process = self._clock.process(self._machine.name, self._skew)
        self._lives += 1
        self.since = self._clock.now
        self.state = State(incarnation=f"{self._machine.name}i{self._lives}")
        self._waiting: deque[events.Event] = deque()
        self._busy = False
        self._timers: dict[events.Key, Timer] = {}
        self._probes: dict[str, Timer] = {}
        self._held = SimHeldView(self._machine)
        self._session = Session(
            self._settings,
            SimLink(self._net, self._machine.name, process),
            self._deliver,
            self._held,
            self._follow_view,
            lambda *_: None,
            joined_before=self._machine.kept is not None,
        )
        self._machine.listener = self
        spooled = tuple(self._machine.spool.values())
        self._after(0.0, lambda: self._deliver(events.SpoolRead(spooled)))
        self._after(0.01, self._meet_supervisor)

    def crash(self, *, power: bool = False) -> None:
        """``power``: with its whole machine, so that nobody tells the server."""
        process, self.process = self.process, None
        if process is None:
            return
        process.killed = True
        self.accepts = False
        self._machine.listener = None
        self._net.agent_died(self._machine.name, power=power)
        for each in self._machine.living("worker"):
            if isinstance(each.workload, Worker):
                each.workload.agent_gone(self)

    def stop(self, seconds: float) -> None:
        """SIGSTOP, and SIGCONT later."""
        if self.process is not None and not self.process.stopped:
            self.process.stopped = True
            self._clock.after(seconds, self.go_on)

    def go_on(self) -> None:
        """SIGCONT, if it was stopped."""
        if self.process is not None and self.process.stopped:
            self.since = self._clock.now
            self.process.go_on()

    def deliver(self, event: events.Event) -> None:
        """Something from outside comes in."""
        if self.process is not None:
            self._clock.after(0.0, lambda: self._deliver(event), self.process)

    def _deliver(self, event: events.Event) -> None:
        self._waiting.append(event)
        if self._busy:
            return
        self._busy = True
        while self._waiting:
            now = self._clock.now + self._skew
            self.state, instructions = step(self.state, self._waiting.popleft(), now)
            for each in instructions:
                self._perform(each)
        self._busy = False

    async def _keep_session(self) -> None:
        try:
            await self._session.run()
        except CallmeshError as refusal:
            self._machine.checks.fail(f"{self._machine.name} is refused: {refusal}")
        except Exception as defect:  # noqa: BLE001 - a finding
            self._machine.checks.defect(defect)

    def _follow_view(self) -> None:
        view = self._held.view
        version = view.version
        self._machine.checks.view_held(self._machine.name, view)
        self._held.save()
        endpoints = {each.service.mesh_name: each.service.endpoint for each in view.services}
        self._deliver(events.EndpointsChanged(endpoints))
        self._after(self._rng.uniform(*ENVOY), lambda: self._session.report_view(version))

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
        self._after(0.0, self._meet_supervisor)

    def _meet_supervisor(self) -> None:
        if not self._machine.supervised:
            return
        self._deliver(events.SupervisorConnected(self._machine.listed()))
        for process in list(self._machine.processes.values()):
            if process.zygote is not None and process.alive:
                self._deliver(events.ZygoteReported(process.zygote))
            if not process.alive:
                self._deliver(events.ProcessExited(process.record, ()))
        if not self.accepts and self.process is not None:
            self.accepts = True
            self._deliver(events.EndpointsChanged({}))
            if self._machine.kept is not None:
                self._deliver(events.DesiredRead(self._machine.kept))
            self.process.spawn(self._keep_session())
            self._after(0.1, lambda: self._deliver(events.Warmed()))

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
                self._session.report_attempt(report)
            case do.ReportInstance(report):
                self._session.report_instance(report)
            case do.ReportInstancesComplete():
                self._session.report_instances_complete()
            case do.ReportAttemptsComplete():
                self._session.report_attempts_complete()
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
            case do.KeepDesired(desired):
                self._after(self._rng.uniform(*WRITE), lambda: self._keep(desired))
            case do.SpoolAttempt(report):
                key = f"{report.run}.{report.fence.epoch}.{report.fence.counter}"
                self._machine.spool[key] = report
            case do.ForgetSpooled(run, epoch, counter):
                self._machine.spool.pop(f"{run}.{epoch}.{counter}", None)

    def _keep(self, desired: node_pb2.DesiredSet) -> None:
        """Written behind: one that comes later may be written first, and stays."""
        kept = self._machine.kept
        if kept is None or kept.version <= desired.version:
            self._machine.kept = desired

    def _start(self, request: Start) -> None:
        process = self.process

        def answer(event: events.Event) -> None:
            self._clock.after(0.0, lambda: self._deliver(event), process)

        def started(record: supervisor_pb2.Process) -> None:
            answer(events.ProcessStarted(record))

        def refused(message: str, lost: bool) -> None:
            answer(events.ProcessRefused(request.process_id, message, lost=lost))

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
            self._after(0.0, lambda: self._deliver(ready))
            return
        self._probes[instance_id] = self._after(PROBE, lambda: self._probe(instance_id, generation))

    def _wake_at(self, key: events.Key, at: float | None) -> None:
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()
        if at is not None:
            moment = at - self._skew
            self._timers[key] = self._clock.at(moment, lambda: self._woke(key), self.process)

    def _woke(self, key: events.Key) -> None:
        self._timers.pop(key, None)
        self._deliver(events.Woke(key))

    def _answer(self, within: tuple[float, float], event: Callable[[], events.Event]) -> None:
        self._after(self._rng.uniform(*within), lambda: self._deliver(event()))

    def _after(self, seconds: float, what: Callable[[], object]) -> Timer:
        return self._clock.after(seconds, what, self.process)
