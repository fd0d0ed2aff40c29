"""A step in the making: the next state and the instructions, while they are decided.

It lives inside one call of `step` and never leaves it. What follows from a
change alone (publish, report, wake) is derived at the end by comparison, so
that no transition can forget it.
"""

from __future__ import annotations

from dataclasses import replace

from callmesh_agent.core import reports
from callmesh_agent.core.instructions import (
    Instruction,
    Publish,
    ReportAttempt,
    ReportAttemptsComplete,
    ReportInstance,
    SpoolAttempt,
    WakeAt,
)
from callmesh_agent.core.state import (
    Attempt,
    AttemptKey,
    Instance,
    Limits,
    Pool,
    Stage,
    State,
    Worker,
    Zygote,
)


class Draft:
    """Copies of the state's tables that may be changed."""

    def __init__(self, state: State, now: float) -> None:
        self._before = state
        self.now = now
        self.limits: Limits = state.limits
        self.instances = dict(state.instances)
        self.attempts = dict(state.attempts)
        self.workers = dict(state.workers)
        self.zygotes = dict(state.zygotes)
        self.pools = dict(state.pools)
        self.bundles = dict(state.bundles)
        self.environments = dict(state.environments)
        self.endpoints = state.endpoints
        self.serial = state.serial
        self.supervised = state.supervised
        self.settled = state.settled
        self.session = state.session
        self.desired_version = state.desired_version
        self.base_hash = state.base_hash
        self.installation = state.installation
        self.base_failures = dict(state.base_failures)
        self.warm = state.warm
        self.instructions: list[Instruction] = []
        # What was changed, in the order of the first change.
        self._instances: dict[str, None] = {}
        self._attempts: dict[AttemptKey, None] = {}
        self._workers: dict[str, None] = {}
        self._zygotes: dict[str, None] = {}

    def do(self, *instructions: Instruction) -> None:
        """Add to what the driver shall do."""
        self.instructions.extend(instructions)

    def new_id(self, kind: str) -> str:
        """An id that no process of this node ever had."""
        self.serial += 1
        return f"{kind}-{self._before.incarnation}-{self.serial}"

    def put(self, instance: Instance) -> None:
        """Replace an instance."""
        self.instances[instance.id] = instance
        self._instances[instance.id] = None

    def remove(self, instance_id: str) -> None:
        """Forget an instance; it is reported as gone."""
        self.instances.pop(instance_id, None)
        self._instances[instance_id] = None

    def put_attempt(self, attempt: Attempt) -> None:
        """Replace an attempt; an end that no server takes is written to disk."""
        if attempt.stage is Stage.ENDED and not (self.session or attempt.spooled):
            attempt = attempt._replace(spooled=True)
            self.do(SpoolAttempt(attempt.report))
        self.attempts[attempt.key] = attempt
        self._attempts[attempt.key] = None

    def put_worker(self, worker: Worker) -> None:
        """Replace a worker."""
        self.workers[worker.id] = worker
        self._workers[worker.id] = None

    def remove_worker(self, worker_id: str) -> None:
        """Forget a worker."""
        self.workers.pop(worker_id, None)
        self._workers[worker_id] = None

    def put_zygote(self, zygote: Zygote) -> None:
        """Replace a zygote."""
        self.zygotes[zygote.id] = zygote
        self._zygotes[zygote.id] = None

    def remove_zygote(self, zygote_id: str) -> None:
        """Forget a zygote."""
        self.zygotes.pop(zygote_id, None)
        self._zygotes[zygote_id] = None

    def put_pool(self, pool: Pool) -> None:
        """Replace a pool."""
        self.pools[pool.key] = pool

    def finish(self) -> tuple[State, list[Instruction]]:
        """The next state, and everything to do in order: publish first."""
        state = replace(
            self._before,
            instances=self.instances,
            attempts=self.attempts,
            workers=self.workers,
            zygotes=self.zygotes,
            pools=self.pools,
            bundles=self.bundles,
            environments=self.environments,
            endpoints=self.endpoints,
            serial=self.serial,
            supervised=self.supervised,
            settled=self.settled,
            session=self.session,
            desired_version=self.desired_version,
            base_failures=self.base_failures,
            warm=self.warm,
        )
        return state, [
            *self._publications(),
            *self.instructions,
            *self._reports(),
            *self._wakes(),
        ]

    def _publications(self) -> list[Instruction]:
        if not self._instances:
            return []
        before = reports.rotation(self._before.instances)
        after = reports.rotation(self.instances)
        return [] if before == after else [Publish(after)]

    def _reports(self) -> list[Instruction]:
        if not self.session:
            return []
        made: list[Instruction] = []
        for instance_id in self._instances:
            report = reports.change_of_instance(
                self._before.instances.get(instance_id), self.instances.get(instance_id)
            )
            if report is not None:
                made.append(ReportInstance(report))
        for key in self._attempts:
            attempt = self.attempts.get(key)
            before = self._before.attempts.get(key)
            known = before.report if before is not None else None
            if attempt is not None and reports.is_news(known, attempt.report):
                made.append(ReportAttempt(attempt.report))
        if self.settled and not self._before.settled:
            made.append(ReportAttemptsComplete())
        return made

    def _wakes(self) -> list[Instruction]:
        made: list[Instruction] = []
        for kind, ids, before, after in (
            ("instance", self._instances, self._before.instances, self.instances),
            ("worker", self._workers, self._before.workers, self.workers),
            ("zygote", self._zygotes, self._before.zygotes, self.zygotes),
        ):
            for each in ids:
                old, new = before.get(each), after.get(each)
                was = old.wake_at if old is not None else None
                wanted = new.wake_at if new is not None else None
                if was != wanted:
                    made.append(WakeAt((kind, each), wanted))
        return made
