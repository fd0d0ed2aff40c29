"""What the server keeps in memory, and what readers may see of it.

The `Ledger` is ahead of the disk. What a reader must not see before it is
committed is the end of a run: until then it is shown as it was before.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from callmesh_server.changes import Changes, RunChanged
from callmesh_server.core.ledger import Ledger
from callmesh_server.core.world import TaskKey, World, task_key
from callmeshpb.v1 import scheduler_pb2

if TYPE_CHECKING:
    from callmesh_server.store.database import Database

_RECENT = 512
_RECENT_BYTES = 64 * 1024


class Live:
    """Runs and tasks beside the ledger. Changed by `apply` and the handlers."""

    def __init__(self, ledger: Ledger, changes: Changes, database: Database) -> None:
        self.ledger = ledger
        self.changes = changes
        self.database = database
        self.world: World = ledger.world
        # Grows whenever a name may mean another task than before.
        self.deploys = 0
        # The inputs of each unfinished run, as a Run with nothing else.
        self.inputs: dict[str, scheduler_pb2.Run] = {}
        # Run by request id, for unfinished and recent ones.
        self.by_request: dict[str, str] = {}
        self._request_of: dict[str, str] = {}
        # Runs whose end is not committed, as they were before it.
        self._ending: dict[str, scheduler_pb2.Run] = {}
        # Runs that ended a short while ago, and their inputs.
        self._recent: OrderedDict[str, tuple[scheduler_pb2.Run, scheduler_pb2.Run]] = OrderedDict()
        self._results: OrderedDict[str, int] = OrderedDict()
        self._results_noted = 0
        self._uses: dict[TaskKey, int] = {}
        self._versions: OrderedDict[TaskKey, scheduler_pb2.Task] = OrderedDict()
        # By project and domain, then by name.
        self._newest: dict[tuple[str, str], dict[str, TaskKey]] = {}

    # Tasks

    def put_newest(self, task: scheduler_pb2.Task) -> None:
        """Know the newest deployed version of a task; the one before is forgotten."""
        key = key_of(task)
        self.ledger.put_task(task)
        self.deploys += 1
        names = self._newest.setdefault((key.project, key.domain), {})
        before = names.get(key.name)
        names[key.name] = key
        if before is not None and before != key:
            self._forget_unused(before)

    def keep_task(self, task: scheduler_pb2.Task) -> None:
        """Have a version at hand that is not the newest, for a while."""
        key = key_of(task)
        self._versions[key] = task
        self._versions.move_to_end(key)
        self.deploys += 1
        if len(self._versions) > _RECENT:
            self._versions.popitem(last=False)

    def task(self, key: TaskKey) -> scheduler_pb2.Task | None:
        """A version that is at hand, or None: then the store may have it."""
        return self._versions.get(key) or self.world.tasks.get(key)

    def newest(self, project: str, domain: str) -> list[scheduler_pb2.Task]:
        """The newest deployed version of every task of a scope."""
        names = self._newest.get((project, domain), {})
        return [self.world.tasks[key] for key in names.values()]

    def newest_of(self, project: str, domain: str, name: str) -> scheduler_pb2.Task | None:
        """The newest deployed version of the task of this full name."""
        key = self._newest.get((project, domain), {}).get(name)
        return None if key is None else self.world.tasks[key]

    # Runs

    def begin(
        self,
        run: scheduler_pb2.Run,
        inputs: scheduler_pb2.Run,
        task: scheduler_pb2.Task,
        request_id: str,
    ) -> None:
        """Know a run that is about to be put into the ledger."""
        key = key_of(task)
        if key not in self.world.tasks:
            self.ledger.put_task(task)
        self._uses[key] = self._uses.get(key, 0) + 1
        self.inputs[run.name] = inputs
        if request_id:
            self.by_request[request_id] = run.name
            self._request_of[run.name] = request_id

    def restore_run(
        self,
        run: scheduler_pb2.Run,
        inputs: scheduler_pb2.Run,
        tasks: Mapping[TaskKey, scheduler_pb2.Task],
        request_id: str,
    ) -> None:
        """Know an unfinished run of an earlier life. Its task may be missing."""
        task = tasks.get(task_key(run))
        if task is not None:
            self.begin(run, inputs, task, request_id)
        else:
            self.inputs[run.name] = inputs

    def hide_end(self, before: scheduler_pb2.Run) -> None:
        """Show a run as it was, until `show_end`."""
        self._ending.setdefault(before.name, before)

    def show_end(self, run: scheduler_pb2.Run) -> None:
        """The end is committed: show it, and keep it at hand for a while."""
        self._ending.pop(run.name, None)
        inputs = self.forget(run)
        if inputs is not None and inputs.ByteSize() + run.ByteSize() < _RECENT_BYTES:
            self._recent[run.name] = (run, inputs)
            if len(self._recent) > _RECENT:
                self._recent.popitem(last=False)
        self.changes.notify(RunChanged(run.name))

    def note_result(self, key: str) -> None:
        """A run has succeeded whose result is kept under this key, once it is committed."""
        self._results_noted += 1
        self._results[key] = self._results_noted
        self._results.move_to_end(key)
        if len(self._results) > _RECENT:
            self._results.popitem(last=False)

    def result_mark(self, key: str) -> int:
        """Changes with every `note_result` of the key; 0 where there was none lately."""
        return self._results.get(key, 0)

    def drop(self, run: scheduler_pb2.Run) -> None:
        """The run was refused: it never was."""
        self._ending.pop(run.name, None)
        self.forget(run)

    def forget(self, run: scheduler_pb2.Run) -> scheduler_pb2.Run | None:
        """Drop what an unfinished run holds in memory; returns its inputs."""
        key = task_key(run)
        uses = self._uses.get(key, 0) - 1
        if uses > 0:
            self._uses[key] = uses
        else:
            self._uses.pop(key, None)
            self._forget_unused(key)
        request_id = self._request_of.pop(run.name, "")
        self.by_request.pop(request_id, None)
        return self.inputs.pop(run.name, None)

    def forget_ended(self, names: Iterable[str]) -> None:
        """These ended runs are removed from the record."""
        for name in names:
            self._recent.pop(name, None)

    def forget_version(self, key: TaskKey) -> bool:
        """A version is to be removed from the record; False where a run has it by now."""
        if key in self.world.tasks:
            return False
        self._versions.pop(key, None)
        self.deploys += 1
        return True

    def shown(self, name: str) -> scheduler_pb2.Run | None:
        """An unfinished run as readers may see it, without inputs."""
        return self._ending.get(name) or self.world.runs.get(name)

    async def whole_run(self, name: str) -> scheduler_pb2.Run | None:
        """A run as readers may see it, with its values; None if there is none.

        It is the caller's own to change.
        """
        run = self.shown(name)
        inputs = self.inputs.get(name)
        if run is None and name in self._recent:
            run, inputs = self._recent[name]
        if run is None:
            return await self.database.run(name)
        whole = scheduler_pb2.Run()
        whole.CopyFrom(run)
        if inputs is not None:
            whole.MergeFrom(inputs)
        return whole

    async def run_without_inputs(self, name: str) -> scheduler_pb2.Run | None:
        """A run as readers may see it, with its outputs; not to be changed."""
        run = self.shown(name)
        if run is None and name in self._recent:
            run = self._recent[name][0]
        if run is None:
            run = await self.database.run(name)
            if run is not None:
                run.ClearField("inputs")
        return run

    def _forget_unused(self, key: TaskKey) -> None:
        newest = self._newest.get((key.project, key.domain), {}).get(key.name)
        if key not in self._uses and key != newest:
            self.ledger.remove_task(key)


def key_of(task: scheduler_pb2.Task) -> TaskKey:
    """The key of a task's version."""
    environment = task.environment
    return TaskKey(environment.project, environment.domain, task.spec.name, environment.version)
