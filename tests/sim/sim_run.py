"""One simulation: a story is played on a mesh, then everything must come to rest as it should.

Run by hand: ``python tests/sim/sim_run.py [SEED …]`` prints the story and what happened.
"""

from __future__ import annotations

import random
import re
import sys
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from google.protobuf.message import Message
from google.protobuf.text_format import MessageToString
from sim_agent import SimAgent
from sim_checks import Broken, Checks
from sim_clock import Clock, virtual_time
from sim_machine import Machine
from sim_net import Net, Wire
from sim_server import SimServer, quiet
from sim_story import ACCIDENTS, ACCIDENTS_END, Step, nodes_of, story
from sim_users import Users, tasks
from sim_workloads import AppProcess, Worker

from callmesh_server.core.attempts import has_ended
from callmesh_server.core.revisions import wanted_replicas
from callmesh_server.core.world import app_name
from callmeshpb.v1 import scheduler_pb2 as pb

REST = ACCIDENTS_END + 20.0
LIMIT = 600.0
SHRINK_TRIES = 150
TRACE = 120


@dataclass(frozen=True, slots=True)
class Failure:
    """A seed that broke a property."""

    seed: int
    sentence: str
    steps: tuple[Step, ...]
    trace: tuple[str, ...]

    def __str__(self) -> str:
        nodes = "".join(f"  {each}\n" for each in nodes_of(self.seed))
        script = nodes + "\n".join(f"  {each}" for each in self.steps)
        trace = "\n".join(f"  {each}" for each in self.trace)
        return (
            f"seed {self.seed}: {self.sentence}\n\nThe script, as short as it still fails:\n"
            f"{script}\n\nThe last things that happened:\n{trace}\n"
        )


def play(seed: int) -> Failure | None:
    """Play a seed's story; what broke, with the shortest script found, or None."""
    steps = story(seed)
    failure = play_steps(seed, steps)
    return None if failure is None else _shrunk(failure)


def play_steps(seed: int, steps: Sequence[Step], *, verbose: bool = False) -> Failure | None:
    """Play these steps with a seed's delays and chances."""
    simulation = Simulation(seed, verbose=verbose)
    try:
        simulation.play(steps)
    except Broken as broken:
        return Failure(seed, str(broken), tuple(steps), tuple(simulation.trace))
    except Exception as defect:  # noqa: BLE001 - a defect in a core is a finding too
        trace = (*simulation.trace, f"{type(defect).__name__}: {defect}")
        frame = defect.__traceback__
        while frame is not None and frame.tb_next is not None:
            frame = frame.tb_next
        where = f"{frame.tb_frame.f_code.co_filename}:{frame.tb_lineno}" if frame else "?"
        sentence = f"a defect: {type(defect).__name__}: {defect} at {where}"
        return Failure(seed, sentence, tuple(steps), trace)
    return None


def _shrunk(failure: Failure) -> Failure:
    """Leave out steps for as long as it still fails."""
    tries = 0
    index = len(failure.steps) - 1
    while index >= 0 and tries < SHRINK_TRIES:
        tries += 1
        fewer = [*failure.steps[:index], *failure.steps[index + 1 :]]
        again = play_steps(failure.seed, fewer)
        if again is not None:
            failure = again
        index -= 1
    return play_steps(failure.seed, failure.steps, verbose=True) or failure


class Simulation:
    """A server, machines with agents, users, and one clock."""

    def __init__(self, seed: int, *, verbose: bool = False) -> None:
        self.clock = Clock()
        self._seed = seed
        self._verbose = verbose
        self.trace: deque[str] = deque(maxlen=TRACE)
        self._rng = random.Random(f"delays of {seed}")
        self.checks = Checks(self.clock)
        self.net = Net(self.clock, self._rng, self.see)
        self.server = SimServer(self.clock, self._rng, self.checks, self.net, tasks(), self.tell)
        self.users = Users(self.clock, self._rng, self.checks, self.server)
        self._lost: set[str] = set()
        self.machines: dict[str, Machine] = {}
        self.agents: dict[str, SimAgent] = {}
        for plan in nodes_of(seed):
            machine = Machine(plan.name, self.clock, self._rng, self.checks)
            self.machines[plan.name] = machine
            self.net.wires[plan.name] = Wire(self.clock, self._rng)
            self.agents[plan.name] = SimAgent(machine, self.net, self.users, plan)
        self.checks.run_on_disk = self.server.disk.runs.get
        self.checks.fine_since = self._fine_since
        self.checks.retries = {name: each.spec.retries.count for name, each in tasks().items()}
        self.checks.is_held = self._is_held
        self.checks.listens = self._listens
        self.server.start()

    def _fine_since(self, node: str) -> float | None:
        """Since when its agent lives and reaches the server, or None."""
        agent, wire = self.agents[node], self.net.wires[node]
        if agent.process is None or agent.process.stopped or wire.is_cut or not agent.accepts:
            return None
        return max(agent.since, wire.cut_until, wire.reset_at)

    def _is_held(self, key: tuple[str, int, int]) -> bool:
        return any(
            isinstance(each.workload, Worker) and each.workload.holds(key)
            for machine in self.machines.values()
            for each in machine.living("worker")
        )

    def _listens(self, instance: str) -> bool:
        processes = (each.processes.get(f"app/{instance}") for each in self.machines.values())
        return any(
            each is not None and isinstance(each.workload, AppProcess) and each.workload.listens
            for each in processes
        )

    def tell(self, text: str) -> None:
        """Keep what happened, for whoever has to understand a failure."""
        self.trace.append(f"{self.clock.elapsed:8.3f} s  {text}")

    def see(self, node: str, message: Message) -> None:
        """Something passes between server and node: kept when a failure is played again."""
        kind = message.WhichOneof("message")
        if self._verbose and kind not in ("mesh_view", "mesh_delta", "lease"):
            said = MessageToString(getattr(message, kind or ""), as_one_line=True)
            self.tell(f"{node} {kind}: {_brief(said)}")

    def play(self, steps: Sequence[Step]) -> None:
        """Raises `Broken`."""
        with virtual_time(self.clock, self._seed), quiet(self.checks):
            try:
                self._play(steps)
            finally:
                self.clock.end()

    def _until(self, elapsed: float) -> None:
        self.clock.run_until(elapsed)
        if self.clock.broken:
            raise Broken(self.clock.broken)

    def _play(self, steps: Sequence[Step]) -> None:
        for step in steps:
            self.clock.after(step.at, lambda step=step: self._do(step))
        self._until(ACCIDENTS_END + 16.0)
        self._mend()
        self._until(REST)
        # One look a second is enough, and looking is not free.
        while self.clock.elapsed < LIMIT:
            self._until(self.clock.elapsed + 2.0)
            if not self._unrest():
                break
        # What is at rest has to stay so.
        self._until(self.clock.elapsed + 5.0)
        unrest = self._unrest()
        if unrest:
            raise Broken(f"it never comes to rest: {unrest}")
        if not {step.kind for step in steps} & {*ACCIDENTS, "lose machine"}:
            self._spread()
        if self._seed % 4 == 0:
            self._restart_at_rest()

    def _spread(self) -> None:
        """Replicas at rest are spread: between two nodes the difference is at most 1."""
        world = self.server.world
        for name, app in world.apps.items():
            counts = dict.fromkeys(self.agents, 0)
            for each in world.instances_of(name):
                counts[each.node] += each.revision == app.serving_revision
            if max(counts.values()) - min(counts.values()) > 1:
                raise Broken(f"app `{name.name}` is not spread: {counts}")

    def _restart_at_rest(self) -> None:
        """A restart of the server and of every agent ends no process of an app, and moves none."""
        before = self._processes()
        self.server.crash()
        self.clock.after(0.5, self.server.start)
        for name in sorted(set(self.agents) - self._lost):
            self.agents[name].crash()
            self.clock.after(self._rng.uniform(0.3, 2.0), self.agents[name].start)
        self._until(self.clock.elapsed + 30.0)
        if self._processes() != before:
            raise Broken(f"a restart at rest made {self._processes()} of {before}")
        unrest = self._unrest()
        if unrest:
            raise Broken(f"it does not come to rest after a restart: {unrest}")

    def _processes(self) -> dict[str, int]:
        """Those that take calls: a broken revision is started again and again."""
        return {
            each.record.process_id: each.record.pid
            for machine in self.machines.values()
            for each in machine.living("app")
            if isinstance(each.workload, AppProcess) and each.workload.listens
        }

    def _mend(self) -> None:
        """The accidents are over."""
        self.server.disk.full_until = 0.0
        self.server.go_on()
        self.server.start()
        for name in sorted(set(self.agents) - self._lost):
            wire = self.net.wires[name]
            wire.cut_until = min(wire.cut_until, self.clock.now)
            self.machines[name].revive_supervisor()
            self.agents[name].go_on()
            self.agents[name].start()
            # Once the server is there.
            self.clock.after(1.0, lambda name=name: self.server.undrain(name))

    def _do(self, step: Step) -> None:
        self.tell(str(step)[11:].strip())
        if step.target in self._lost:
            return
        agent = self.agents.get(step.target)
        machine = self.machines.get(step.target)
        match step.kind:
            case "run" | "run failing" | "run parent" | "run limited" | "run heavy":
                self.users.submit(step)
            case "abort":
                self.users.abort(step.target)
            case "kill server":
                self._kill_server(step.lasts)
            case "kill agent" if agent is not None:
                agent.crash()
                self._start_later(step)
            case "kill up" if agent is not None:
                self._kill_server(step.lasts)
                agent.crash()
                self._start_later(step)
            case "reboot" | "lose machine" if agent is not None and machine is not None:
                agent.crash(power=True)
                machine.lose_power()
                if step.kind == "lose machine":
                    self._lost.add(step.target)
                else:
                    self._start_later(step)
            case "kill supervisor" if machine is not None:
                machine.crash_supervisor()
                self._start_later(step)
            case "kill app" | "kill worker" | "kill zygote" if machine is not None:
                victims = machine.living(step.kind.removeprefix("kill "))
                if victims:
                    victim = self._rng.choice(victims).record
                    self.tell(f"killed {victim.process_id}")
                    machine.kill(victim.process_id, victim.pid)
            case "cut" if agent is not None:
                self.net.reset(step.target, step.lasts)
            case "partition" if agent is not None:
                self.net.wires[step.target].cut(step.lasts)
            case "drain":
                self.server.drain(step.target, step.lasts)
            case "undrain":
                self.server.undrain(step.target)
            case "stop server":
                self.server.stop(step.lasts)
            case "leap":
                self.server.leap(step.lasts)
            case "full disk":
                self.server.disk.full_until = self.clock.now + step.lasts
            case "stop agent" if agent is not None:
                agent.stop(step.lasts)
            case _:
                self.users.change_app(step)

    def _start_later(self, step: Step) -> None:
        """Bring back what a machine lacks: its supervisor, then its agent."""

        def start() -> None:
            if step.target not in self._lost:
                self.machines[step.target].revive_supervisor()
                if step.kind != "kill supervisor":
                    self.agents[step.target].start()

        self.clock.after(step.lasts, start)

    def _kill_server(self, back_after: float) -> None:
        self.server.crash()
        self.clock.after(back_after, self.server.start)

    # What must be so in the end. Each gives what is not, or "".

    def _unrest(self) -> str:
        return (
            self._unended_runs()
            or self._busy_workers()
            or self._held_attempts()
            or next(
                (text for app in self.server.disk.apps.values() if (text := self._app(app))), ""
            )
            or self._strange_processes()
            or self._leftovers()
        )

    def _unended_runs(self) -> str:
        """Every acknowledged run has ended."""
        for name in sorted(self.users.acknowledged):
            run = self.server.disk.runs.get(name)
            if run is None:
                return f"run `{name}` was acknowledged and is not known"
            if not has_ended(run):
                run = self.server.world.runs.get(name, run)
                return f"run `{name}` is {pb.RunPhase.Name(run.phase)}: {run.message}"
        return ""

    def _busy_workers(self) -> str:
        """No worker executes what has ended."""
        for machine in self.machines.values():
            for process in machine.living("worker"):
                workload = process.workload
                if isinstance(workload, Worker) and workload.executing:
                    return f"{process.record.process_id} still executes `{workload.executing}`"
        return ""

    def _held_attempts(self) -> str:
        """No node holds an attempt that the store has the end of."""
        for name in sorted(set(self.agents) - self._lost):
            held = [each.run for each in self.agents[name].state.attempts]
            if held:
                return f"{name} still holds attempts of {held}"
        return ""

    def _app(self, app: pb.App) -> str:
        """The app is where its user wants it, or says why not."""
        name = app.spec.name
        # What was on a machine that is lost is kept where it may still hold a port.
        here = [
            each
            for each in self.server.world.instances_of(app_name(app))
            if each.node not in self._lost
        ]
        ready = [each for each in here if each.status.state == pb.INSTANCE_STATE_READY]
        app = self.server.world.apps.get(app_name(app), app)
        if app.deleting:
            return f"app `{name}` is still being deleted"
        if app.desired_state == pb.DESIRED_STATE_INACTIVE:
            return f"inactive app `{name}` has instances" if here else ""
        newest_is_broken = (name, app.revision) in self.checks.broken_revisions
        state = pb.AppState.Name(app.state)
        if app.serving_revision:
            wanted = wanted_replicas(app.serving_spec)
            serving = [each for each in ready if each.revision == app.serving_revision]
            others = [each for each in here if each.revision != app.serving_revision]
            if len(serving) != wanted or (others and not self._waits_for_others(app)):
                return f"app `{name}` is {state} with {len(serving)} of {wanted} ready instances"
        expected = {pb.APP_STATE_FAILED} if newest_is_broken else {pb.APP_STATE_READY}
        if self._waits_for_others(app):
            expected = {pb.APP_STATE_PENDING}
        if app.state not in expected:
            messages = "; ".join(each.message for each in app.conditions)
            return f"app `{name}` is {state}: {messages}"
        return ""

    def _waits_for_others(self, app: pb.App) -> bool:
        return any(
            each.type == "DependenciesReady" and each.status != 1 and each.message
            for each in app.conditions
        )

    def _strange_processes(self) -> str:
        """What lives is what shall live, and nothing else."""
        wanted = {f"app/{each}" for each in self.server.world.instances}
        living = {
            process.record.process_id
            for machine in self.machines.values()
            for process in machine.living("app")
        }
        if living - wanted:
            return f"nobody wants {sorted(living - wanted)}"
        return ""

    def _leftovers(self) -> str:
        """Nothing is taken of a node by what has ended, and nobody keeps anything of it."""
        world, live = self.server.world, self.server.parts.live
        taken = {name: each.slots for name, each in world.usage.items() if each.slots}
        if taken:
            return f"slots stay taken: {taken}"
        if world.waiting or world.children or world.runs_on_node or live.inputs:
            return "something of a run that has ended is kept"
        for name in sorted(set(self.agents) - self._lost):
            if self.machines[name].spool:
                return f"{name} keeps results of {sorted(self.machines[name].spool)}"
        return ""


def _brief(said: str) -> str:
    """Without what never matters, and not too long."""
    said = re.sub(r"(created_at|changed_at|started_at|task|environment) \{[^{}]*\} ?", "", said)
    said = re.sub(r'(project|domain|address): "[^"]*" ?', "", said)
    return said if len(said) < 300 else f"{said[:300]}…"


def main(seeds: Sequence[int]) -> int:
    """Play seeds; print each one's story and what it came to."""
    for seed in seeds:
        print(f"seed {seed}")
        for each in (*nodes_of(seed), *story(seed)):
            print(f"  {each}")
        failure = play(seed)
        print(failure if failure is not None else "  all is well\n")
        if failure is not None:
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main([int(each) for each in sys.argv[1:]] or [0]))
