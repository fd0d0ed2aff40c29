"""Performs what the core decides: cheap things at once, slow ones as owned tasks.

One event at a time goes through `step`; what it says is done in order. Each
slow instruction is a task whose end is the next event.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import time
from collections import deque
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import ParamSpec

from callmesh_agent import environment, ports, probe, spool
from callmesh_agent.config import AgentSettings
from callmesh_agent.core import events, instances, reports, step, workers, zygotes
from callmesh_agent.core import instructions as do
from callmesh_agent.core.state import Phase, State
from callmesh_agent.dataplane import DataPlane
from callmesh_agent.environments import Environments
from callmesh_agent.kept import Kept
from callmesh_agent.logs import Logs
from callmesh_agent.session import Session
from callmesh_agent.socket import WorkloadSocket
from callmesh_agent.starts import Starts
from callmesh_agent.supervision import Supervision
from callmesh_agent.workspace import Workspace
from callmesh_wire.errors import CallmeshError, UnavailableError
from callmeshpb.v1 import common_pb2, node_pb2, scheduler_pb2, supervisor_pb2, workload_pb2

# How often connections of an instance that is being emptied are counted.
DRAIN_LOOK = 0.1
_READY = scheduler_pb2.INSTANCE_STATE_READY
_OPEN = (
    scheduler_pb2.ATTEMPT_PHASE_DISPATCHED,
    scheduler_pb2.ATTEMPT_PHASE_RUNNING,
)
Arguments = ParamSpec("Arguments")
log = logging.getLogger("callmesh.agent")


@dataclass(slots=True)
class Parts:
    """What instructions are performed with."""

    settings: AgentSettings
    workspace: Workspace
    environments: Environments
    starts: Starts
    supervision: Supervision
    kept: Kept
    dataplane: DataPlane
    session: Session
    socket: WorkloadSocket
    logs: Logs


class Clock:
    """Epoch seconds that never step back."""

    def __init__(self) -> None:
        self._zero = time.time() - time.monotonic()

    def now(self) -> float:
        """The time now."""
        return self._zero + time.monotonic()


class Driver:
    """The state of this node, and the only place where it changes."""

    def __init__(self, state: State) -> None:
        self.state = state
        self._clock = Clock()
        self._parts: Parts
        self._group: asyncio.TaskGroup
        # What is to happen, and the time before which it does not.
        self._waiting: deque[tuple[events.Event, float]] = deque()
        self._busy = False
        self._closed = False
        # When each key is to be woken, and what is set: perhaps too early, never too late.
        self._wakes: dict[events.Key, float] = {}
        self._timers: dict[events.Key, tuple[float, asyncio.TimerHandle]] = {}
        self._listeners = ports.ListenerTable()
        self._probes: dict[str, asyncio.Task[None]] = {}

    def attach(self, parts: Parts, group: asyncio.TaskGroup) -> None:
        """Give it hands; once, before the first event."""
        self._parts = parts
        self._group = group

    def deliver(self, event: events.Event, not_before: float = 0.0) -> None:
        """Let an event happen, after those that came before it."""
        if self._closed:
            return
        self._waiting.append((event, not_before))
        if self._busy:
            return
        self._busy = True
        try:
            while self._waiting:
                event, earliest = self._waiting.popleft()
                self._step(event, max(earliest, self._clock.now()))
        finally:
            self._busy = False

    def trust(self, ready: Collection[str]) -> None:
        """Adopted instances that took calls before, and still listen, go on taking them."""
        for instance in list(self.state.instances.values()):
            if instance.id not in ready or instance.phase is not Phase.PROBING:
                continue
            listener = probe.find_listener(probe.target_of(instance))
            if listener is not None:
                self.deliver(
                    events.InstanceReady(
                        instance.id,
                        instance.generation,
                        address=listener.dial,
                        port=listener.port,
                        exposed=listener.is_exposed,
                    )
                )

    def close(self) -> None:
        """Nothing happens any more."""
        self._closed = True
        for _, timer in self._timers.values():
            timer.cancel()

    def run_of(self, worker_id: str) -> str:
        """The run whose attempt a worker executes, or ""."""
        worker = self.state.workers.get(worker_id)
        return worker.attempt.run if worker is not None and worker.attempt is not None else ""

    def _step(self, event: events.Event, now: float) -> None:
        self.state, instructions = step(self.state, event, now)
        for instruction in instructions:
            self._perform(instruction)

    def _perform(self, instruction: do.Instruction) -> None:
        parts = self._parts
        match instruction:
            case do.SendPrepare(worker_id, order):
                parts.socket.send(worker_id, workload_pb2.WorkloadReply(prepare=order))
            case do.SendGo(worker_id, go):
                parts.socket.send(worker_id, workload_pb2.WorkloadReply(go=go))
            case do.SendAck(worker_id, ack):
                parts.socket.send_soon(worker_id, workload_pb2.WorkloadReply(ack=ack))
            case do.ReportAttempt(report):
                parts.session.report_attempt(report)
                if report.worker and report.phase in _OPEN:
                    parts.logs.attempt_began(report.worker, report.log_start)
                elif report.worker:
                    parts.logs.attempt_ended(report.worker, report.log_start, report.log_end)
            case do.ReportInstance(report, at_once):
                port = report.status.inbound_port
                if report.status.state == _READY and port and not at_once:
                    self._spawn(self._report_ready, report.id, port)
                else:
                    parts.session.report_instance(report)
            case do.ReportInstancesComplete():
                parts.session.report_instances_complete()
            case do.ReportAttemptsComplete():
                parts.session.report_attempts_complete()
            case do.Publish(rotation):
                parts.dataplane.set_local(rotation)
            case do.WakeAt(key, at):
                self._wake_at(key, at)
            case do.KeepDesired(desired):
                parts.kept.put_desired(desired)
            case do.SpoolAttempt(report):
                self._spool(report)
            case _:
                self._perform_slow(instruction)

    def _perform_slow(self, instruction: do.Instruction) -> None:
        parts = self._parts
        match instruction:
            case do.UnpackBundle(digest):
                self._spawn(self._unpack, digest)
            case do.BuildEnvironment(key, image):
                self._spawn(self._build, key, image)
            case do.StartInstance() | do.StartWorker() | do.StartZygote():
                self._spawn(self._start, instruction)
            case do.SignalProcess(process_id, signal, kill_after):
                self._spawn(self._signal, process_id, signal, kill_after)
            case do.ForgetProcess(process_id):
                self._spawn(self._forget, process_id)
            case do.Probe(instance_id):
                self._end_probe(instance_id)
                target = probe.target_of(self.state.instances[instance_id])
                self._probes[instance_id] = self._group.create_task(self._probe(target))
            case do.EndProbe(instance_id):
                self._end_probe(instance_id)
            case do.LeaveRotation(instance_id, generation):
                self._spawn(self._leave_rotation, instance_id, generation)
            case do.AwaitDrained(instance_id, generation, port):
                self._spawn(self._await_drained, instance_id, generation, port)
            case do.RemoveInstanceFiles(instance_id):
                environment.remove_secrets(parts.starts.secrets_of_instance(instance_id))
                shutil.rmtree(parts.starts.parameters_of_instance(instance_id), ignore_errors=True)
            case do.RemovePoolFiles(pool):
                environment.remove_secrets(parts.starts.secrets_of_pool(pool))
            case do.ForgetSpooled(run, epoch, counter):
                spool.remove(parts.settings.spool_dir, run, epoch, counter)

    def _spawn(
        self,
        work: Callable[Arguments, Awaitable[events.Event | None]],
        *arguments: Arguments.args,
        **named: Arguments.kwargs,
    ) -> None:
        async def to_its_end() -> None:
            event = await work(*arguments, **named)
            if event is not None:
                self.deliver(event)

        self._group.create_task(to_its_end())

    def _wake_at(self, key: events.Key, at: float | None) -> None:
        if at is None:
            self._wakes.pop(key, None)
            return
        self._wakes[key] = at
        timer = self._timers.get(key)
        if timer is not None:
            # A worker's is put off with every run: a timer that comes too
            # early sets itself again, which is cheaper.
            if timer[0] <= at:
                return
            timer[1].cancel()
        delay = max(0.0, at - self._clock.now())
        loop = asyncio.get_running_loop()
        self._timers[key] = at, loop.call_later(delay, self._woke, key, at)

    def _woke(self, key: events.Key, set_for: float) -> None:
        del self._timers[key]
        at = self._wakes.get(key)
        if at is None:
            return
        if at > set_for:
            self._wake_at(key, at)
            return
        del self._wakes[key]
        # A timer that fires a breath too early must not be lost.
        self.deliver(events.Woke(key), at)

    def _spool(self, report: node_pb2.AttemptReport) -> None:
        try:
            spool.write(self._parts.settings.spool_dir, report)
        except OSError as problem:
            log.warning("the result of run `%s` is in memory alone: %s", report.run, problem)

    async def _signal(self, process_id: str, signal: int, kill_after: float) -> None:
        try:
            await self._parts.supervision.signal(process_id, signal, kill_after)
        except CallmeshError as problem:
            log.debug("%s needs no signal: %s", process_id, problem)

    async def _forget(self, process_id: str) -> None:
        try:
            await self._parts.supervision.forget(process_id)
        except CallmeshError as problem:
            log.debug("%s is forgotten already: %s", process_id, problem)

    async def _unpack(self, digest: str) -> events.Event:
        try:
            await self._parts.workspace.unpack(digest)
        except (CallmeshError, OSError) as problem:
            return events.BundleFailed(digest, f"its code cannot be had: {problem}")
        return events.BundleUnpacked(digest)

    async def _build(self, key: str, image: common_pb2.Image) -> events.Event:
        def tell(message: str) -> None:
            self.deliver(events.EnvironmentProgressed(key, message))

        try:
            await self._parts.environments.build(key, image, tell)
        except (CallmeshError, OSError) as problem:
            return events.EnvironmentFailed(key, str(problem))
        return events.EnvironmentBuilt(key)

    async def _start(
        self, start: do.StartInstance | do.StartWorker | do.StartZygote
    ) -> events.Event:
        process_id = _process_id(start)
        try:
            process = await self._parts.supervision.start(await self._request(start))
        except UnavailableError as problem:
            return events.ProcessRefused(process_id, str(problem), lost=True)
        except (CallmeshError, OSError) as problem:
            return events.ProcessRefused(process_id, str(problem))
        return events.ProcessStarted(process)

    async def _request(
        self, start: do.StartInstance | do.StartWorker | do.StartZygote
    ) -> supervisor_pb2.StartProcess:
        starts = self._parts.starts
        match start:
            case do.StartInstance(instance_id, zygote):
                instance = self.state.instances[instance_id]
                return await starts.instance(instance, zygote, self.state.endpoints)
            case do.StartWorker(worker_id, zygote):
                pool = self.state.pools[self.state.workers[worker_id].pool]
                return starts.worker(worker_id, pool, zygote)
            case do.StartZygote(zygote_id, pool, parent, key):
                if not pool:
                    return starts.base_zygote(zygote_id, key)
                return starts.zygote(zygote_id, self.state.pools[pool], parent)

    async def _probe(self, target: probe.Target) -> None:
        async for event in probe.watch(target, self._listeners):
            self.deliver(event)

    def _end_probe(self, instance_id: str) -> None:
        task = self._probes.pop(instance_id, None)
        if task is not None:
            task.cancel()

    async def _leave_rotation(self, instance_id: str, generation: int) -> events.Event:
        await self._parts.dataplane.taken()
        return events.RotationLeft(instance_id, generation)

    async def _report_ready(self, instance_id: str, port: int) -> None:
        """Say that an instance takes calls once others' get in; what came after is said already."""
        await self._parts.dataplane.lets_in(port)
        instance = self.state.instances.get(instance_id)
        if instance is not None and instance.phase is Phase.READY and self.state.session:
            self._parts.session.report_instance(reports.instance_report(instance))

    async def _await_drained(
        self, instance_id: str, generation: int, port: int
    ) -> events.Event | None:
        while True:
            instance = self.state.instances.get(instance_id)
            if instance is None or instance.generation != generation:
                return None
            if not ports.connections(port):
                return events.ConnectionsGone(instance_id, generation)
            await asyncio.sleep(DRAIN_LOOK)


def _process_id(start: do.StartInstance | do.StartWorker | do.StartZygote) -> str:
    match start:
        case do.StartInstance(instance_id):
            return instances.PREFIX + instance_id
        case do.StartWorker(worker_id):
            return workers.PREFIX + worker_id
        case do.StartZygote(zygote_id):
            return zygotes.PREFIX + zygote_id
