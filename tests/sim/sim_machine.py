"""One machine: its processes, and the supervisor that starts and ends them.

Stands for `callmesh_agent.supervisor` and the kernel.
"""

from __future__ import annotations

import random
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from google.protobuf.timestamp_pb2 import Timestamp
from sim_checks import Checks
from sim_clock import Clock

from callmeshpb.v1 import node_pb2, supervisor_pb2

IMPORT = (0.02, 0.4)


class Workload(Protocol):
    """What a process does; told of TERM, and of its end."""

    def began(self) -> None: ...

    def terminate(self) -> bool:
        """TERM was received. False: it is ignored."""
        ...

    def died(self) -> None: ...


@dataclass(slots=True)
class Process:
    """A process, living or ended and not forgotten."""

    record: supervisor_pb2.Process
    workload: Workload
    zygote: supervisor_pb2.ZygoteState | None = None
    is_zygote: bool = False

    @property
    def alive(self) -> bool:
        return self.record.running


@dataclass(slots=True)
class Start:
    """What the agent asks for."""

    process_id: str
    spec_hash: str
    labels: dict[str, str]
    # Made when it starts.
    workload: Callable[[Process], Workload]
    is_zygote: bool = False
    # Forked from this zygote, or spawned.
    parent: str = ""
    fixed_port: int = 0


class Listener(Protocol):
    """The agent's line to the supervisor."""

    def exited(self, record: supervisor_pb2.Process) -> None: ...

    def zygote(self, state: supervisor_pb2.ZygoteState) -> None: ...

    def supervisor_lost(self) -> None: ...

    def supervisor_found(self) -> None: ...


@dataclass(slots=True)
class Machine:
    """What outlives the agent."""

    name: str
    clock: Clock
    rng: random.Random
    checks: Checks
    processes: dict[str, Process] = field(default_factory=dict)
    # Results of workers that found no agent, by file name.
    spool: dict[str, object] = field(default_factory=dict)
    # What the server wanted last, as far as it was written down.
    kept: node_pb2.DesiredSet | None = None
    view: node_pb2.MeshView = field(default_factory=node_pb2.MeshView)
    supervised: bool = True
    listener: Listener | None = None
    _pids: int = 1000
    _supervisor: int = 0

    # The supervisor's requests

    def start(
        self,
        request: Start,
        started: Callable[[supervisor_pb2.Process], None],
        refused: Callable[[str, bool], None],
    ) -> None:
        if not self.supervised:
            refused("the supervisor is being started", True)
            return
        life = self._supervisor

        def go() -> None:
            if life != self._supervisor:
                # It died over this: it may have started it just before.
                if self.rng.random() < 0.5 and not request.parent:
                    self._launch(request)
                refused("the supervisor went away", True)
                return
            problem = self._launch(request)
            record = self.processes[request.process_id].record if not problem else None
            self._later(lambda: started(record) if record else refused(problem, False))

        self.clock.after(self.rng.uniform(0.0005, 0.02), go)

    def signal(self, process_id: str, number: int, kill_after: float) -> None:
        if not self.supervised:
            return
        process = self.processes.get(process_id)
        if process is None or not process.alive:
            return
        pid = process.record.pid
        if number == signal.SIGKILL:
            self.kill(process_id, pid)
            return
        if process.workload.terminate():
            self.clock.after(
                self.rng.uniform(0.0, 0.3), lambda: self.exit(process_id, pid, -signal.SIGTERM)
            )
        if kill_after:
            life = self._supervisor
            self.clock.after(
                kill_after, lambda: life == self._supervisor and self.kill(process_id, pid)
            )

    def forget(self, process_id: str) -> None:
        process = self.processes.get(process_id)
        if self.supervised and process is not None and not process.alive:
            del self.processes[process_id]

    def listed(self) -> tuple[supervisor_pb2.Process, ...]:
        return tuple(_copy(each.record) for each in self.processes.values())

    # What happens to processes

    def kill(self, process_id: str, pid: int) -> None:
        self.exit(process_id, pid, -signal.SIGKILL)

    def exit(self, process_id: str, pid: int, status: int) -> None:
        process = self.processes.get(process_id)
        if process is None or not process.alive or process.record.pid != pid:
            return
        process.record.running = False
        if self.supervised:
            process.record.exit_status = status
        self.checks.process_ended(process_id, self.name)
        process.record.ended_at.CopyFrom(Timestamp(seconds=int(self.clock.now)))
        process.workload.died()
        if self.supervised and self.listener is not None:
            listener, record = self.listener, _copy(process.record)
            self._later(lambda: listener is self.listener and listener.exited(record))

    def living(self, kind: str) -> list[Process]:
        """Living processes of a kind ("app", "worker", "zygote"), in the order of their start."""
        return [
            each
            for process_id, each in self.processes.items()
            if each.alive and process_id.startswith(f"{kind}/")
        ]

    def lose_power(self) -> None:
        """Every process is gone, and nobody knows how it ended."""
        self.crash_supervisor()
        for each in list(self.processes.values()):
            if each.alive:
                each.record.running = False
                self.checks.process_ended(each.record.process_id, self.name)
                each.workload.died()
        self.processes.clear()

    def crash_supervisor(self) -> None:
        """Zygotes end with it; workloads live on."""
        if not self.supervised:
            return
        self.supervised = False
        self._supervisor += 1
        for each in self.living("zygote"):
            self.kill(each.record.process_id, each.record.pid)
        if self.listener is not None:
            self.listener.supervisor_lost()

    def revive_supervisor(self) -> None:
        if not self.supervised:
            self.supervised = True
            if self.listener is not None:
                self.listener.supervisor_found()

    def _launch(self, request: Start) -> str:
        """Start it; or the reason why not."""
        old = self.processes.get(request.process_id)
        if old is not None and old.alive:
            return f"`{request.process_id}` lives already (pid {old.record.pid})"
        if request.parent:
            parent = self.processes.get(request.parent)
            if parent is None or not parent.alive:
                return f"zygote `{request.parent}` has ended"
        if request.fixed_port and any(
            each.record.labels.get("fixed") == str(request.fixed_port)
            for each in self.living("app")
        ):
            return f"port {request.fixed_port} is held by another process"
        self._pids += 1
        record = supervisor_pb2.Process(
            process_id=request.process_id,
            spec_hash=request.spec_hash,
            pid=self._pids,
            port=30_000 + self._pids,
            labels=request.labels,
            running=True,
        )
        if request.fixed_port:
            record.labels["fixed"] = str(request.fixed_port)
        self.checks.process_starts(request.process_id, self.name)
        process = Process(record, _Nothing(), is_zygote=request.is_zygote)
        process.workload = request.workload(process)
        self.processes.pop(request.process_id, None)
        self.processes[request.process_id] = process
        process.workload.began()
        if request.is_zygote:
            self.clock.after(self.rng.uniform(*IMPORT), lambda: self._imported(process))
        return ""

    def _imported(self, process: Process) -> None:
        if not process.alive:
            return
        process.zygote = supervisor_pb2.ZygoteState(
            process_id=process.record.process_id,
            outcome=supervisor_pb2.ZYGOTE_OUTCOME_READY,
        )
        if self.supervised and self.listener is not None:
            self.listener.zygote(process.zygote)

    def _later(self, what: Callable[[], object]) -> None:
        self.clock.after(self.rng.uniform(0.0001, 0.002), what)


class _Nothing:
    """A zygote: it does nothing by itself."""

    def began(self) -> None:
        pass

    def terminate(self) -> bool:
        return True

    def died(self) -> None:
        pass


def idle(_process: Process) -> Workload:
    """A zygote's workload."""
    return _Nothing()


def _copy(record: supervisor_pb2.Process) -> supervisor_pb2.Process:
    copy = supervisor_pb2.Process()
    copy.CopyFrom(record)
    return copy
