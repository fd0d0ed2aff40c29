"""Users: they submit runs, deploy apps, ask again until answered, and write the tasks' code."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from sim_checks import Checks
from sim_clock import Clock
from sim_server import SimServer
from sim_story import Step

from callmesh_server.core import revisions
from callmesh_wire.names import AppName
from callmeshpb.v1 import common_pb2, node_pb2
from callmeshpb.v1 import scheduler_pb2 as pb

PROJECT, DOMAIN = "default", "development"
ASK_AGAIN = 1.0


def tasks() -> dict[str, pb.Task]:
    """The tasks of the users' module, by name."""
    environment = pb.TaskEnvironmentSpec(project=PROJECT, domain=DOMAIN, name="env", version="v1")
    environment.code.bundle = "bundle"
    specs = {
        "run": pb.TaskSpec(name="env.run"),
        "run failing": pb.TaskSpec(name="env.failing", retries=pb.RetryPolicy(count=2)),
        "run parent": pb.TaskSpec(name="env.parent"),
        "run limited": pb.TaskSpec(name="env.limited", retries=pb.RetryPolicy(count=1)),
        "run heavy": pb.TaskSpec(name="env.heavy", resources=common_pb2.Resources(memory=2 << 30)),
    }
    specs["run failing"].retries.base.FromMilliseconds(300)
    specs["run limited"].timeouts.max_runtime.FromSeconds(1)
    return {spec.name: pb.Task(environment=environment, spec=spec) for spec in specs.values()}


TASK_OF = {
    "run": "env.run",
    "run failing": "env.failing",
    "run parent": "env.parent",
    "run limited": "env.limited",
    "run heavy": "env.heavy",
}


class Users:
    """Everything that is asked of the mesh, and the code that it executes."""

    def __init__(self, clock: Clock, rng: random.Random, checks: Checks, server: SimServer) -> None:
        self._clock = clock
        self._rng = rng
        self._checks = checks
        self.server = server
        server.on_start.append(self._watch_again)
        self.acknowledged: set[str] = set()
        self._ended: set[str] = set()
        self._plans: dict[str, Step] = {}
        self._failed: dict[str, int] = {}
        self._waiting: dict[str, list[Callable[[], None]]] = {}

    # Runs

    def submit(
        self, plan: Step, parent: str = "", refused: Callable[[], None] | None = None
    ) -> None:
        name = plan.target
        self._plans[name] = plan
        run = pb.Run(
            name=name,
            project=PROJECT,
            domain=DOMAIN,
            task=TASK_OF[plan.kind],
            task_version="v1",
            phase=pb.RUN_PHASE_QUEUED,
            parent=parent,
        )
        answered = False

        def done() -> None:
            nonlocal answered
            answered = True
            self.acknowledged.add(name)

        def refuse(_reason: str) -> None:
            nonlocal answered
            answered = True
            if refused is not None:
                refused()

        def ask() -> None:
            if answered:
                return
            if self.server.alive:
                copy = pb.Run()
                copy.CopyFrom(run)
                self.server.submit(copy, done, refuse)
            self._clock.after(ASK_AGAIN * self._rng.uniform(0.5, 1.0), ask)

        ask()

    def abort(self, name: str) -> None:
        if name in self.acknowledged:
            self.server.abort(name)

    def _wait(self, name: str, what: Callable[[], None]) -> None:
        """Hear of a run's end, over restarts of the server too."""
        if name in self._ended:
            self._clock.after(0.001, what)
            return
        self._waiting.setdefault(name, []).append(what)
        self._watch(name)

    def _watch_again(self) -> None:
        for name in self._waiting:
            self._watch(name)

    def _watch(self, name: str) -> None:
        def ended() -> None:
            self._ended.add(name)
            for what in self._waiting.pop(name, []):
                self._clock.after(self._rng.uniform(0.0005, 0.01), what)

        self.server.watch_run(name, ended)

    # Their code

    def execute(
        self,
        order: node_pb2.AttemptOrder,
        report: node_pb2.AttemptReport,
        finish: Callable[[node_pb2.AttemptReport], None],
    ) -> None:
        plan = self._plans[order.run]
        ended = node_pb2.AttemptReport()
        ended.CopyFrom(report)
        ended.phase = pb.ATTEMPT_PHASE_SUCCEEDED
        ended.outputs.add(json=f"{order.number}".encode())
        if plan.kind == "run parent":
            self._execute_parent(order.run, plan, lambda: finish(ended))
            return
        if plan.kind == "run failing":
            self._failed[order.run] = self._failed.get(order.run, 0) + 1
            if self._failed[order.run] <= plan.number:
                ended.phase = pb.ATTEMPT_PHASE_FAILED
                ended.ClearField("outputs")
                ended.error.CopyFrom(
                    common_pb2.Failure(type="ValueError", kind=common_pb2.FAILURE_KIND_USER)
                )
        self._clock.after(plan.lasts, lambda: finish(ended))

    def _execute_parent(self, name: str, plan: Step, finish: Callable[[], None]) -> None:
        children = [f"{name}-c{number}" for number in range(plan.number)]
        left = set(children)

        def one_ended(child: str) -> Callable[[], None]:
            def ended() -> None:
                left.discard(child)
                if not left:
                    finish()

            return ended

        for child in children:
            nested = plan.lasts < 0.1 and "-c" not in name
            kind = "run parent" if nested else "run"
            step = Step(self._clock.elapsed, kind, child, 0.05, 1)
            self.submit(step, parent=name, refused=one_ended(child))
            self._wait(child, one_ended(child))

    # Apps

    def change_app(self, step: Step) -> None:
        """Ask for a change of an app until it is answered."""
        answered = False
        name = AppName(PROJECT, DOMAIN, step.target)

        def done() -> None:
            nonlocal answered
            answered = True

        def ask() -> None:
            if answered:
                return
            if self.server.alive:
                if step.kind.startswith("deploy") or name in self.server.world.apps:
                    self.server.change_app(lambda app: self._changed(app, step), name, done)
                else:
                    done()
            self._clock.after(ASK_AGAIN, ask)

        ask()

    def _changed(self, app: pb.App | None, step: Step) -> pb.App:
        now = time.time()
        request = pb.UpdateAppRequest(name=step.target)
        match step.kind:
            case "scale":
                request.scale.min_replicas = step.number
            case "activate":
                request.desired_state = pb.DESIRED_STATE_ACTIVE
            case "deactivate":
                request.desired_state = pb.DESIRED_STATE_INACTIVE
            case "rollback":
                request.rollback_to = 0
            case "delete":
                assert app is not None
                return revisions.deleted(app, now)
            case _:
                after = revisions.deployed(app, self._spec(step), 20_000, now)
                # A deploy that a crash swallowed may have had the same number.
                self._checks.broken_revisions.discard((step.target, after.revision))
                if step.kind == "deploy broken":
                    self._checks.broken_revisions.add((step.target, after.revision))
                return after
        assert app is not None
        return revisions.updated(app, request, now)

    def _spec(self, step: Step) -> pb.AppSpec:
        spec = pb.AppSpec(
            project=PROJECT,
            domain=DOMAIN,
            name=step.target,
            kind=pb.APP_KIND_ASGI,
            args=["broken" if step.kind == "deploy broken" else "good"],
            min_replicas=max(1, step.number),
            resources=common_pb2.Resources(memory=256 << 20),
            # Another revision with each deploy.
            env_vars={"AT": f"{step.at}"},
        )
        if step.kind == "deploy dependent":
            spec.depends_on.append("alpha")
        if step.target == "gamma":
            spec.port = 8080
            spec.min_replicas = 1
            spec.args.append("--port=8080")
        return spec
