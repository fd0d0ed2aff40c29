"""Tasks: found by any of their names, and listed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from callmesh_server.api import paging
from callmesh_server.api.caller import Caller
from callmesh_server.api.validate import Problems, scope_of
from callmesh_server.core.world import TaskKey
from callmesh_server.live import Live
from callmesh_wire.errors import InvalidArgumentError, NotFoundError
from callmeshpb.v1 import scheduler_pb2

if TYPE_CHECKING:
    from callmesh_server.store.database import Database

MAX_NAME = 130
MAX_RESOLVED = 1_000


class TaskApi:
    """GetTask and ListTasks; `resolve` is what a submission asks."""

    def __init__(self, live: Live, database: Database) -> None:
        self._live = live
        self._database = database
        # Answers since the last deploy, by serialised reference.
        self._resolved: dict[bytes, scheduler_pb2.Task] = {}
        self._deploys = 0

    async def get_task(
        self, request: scheduler_pb2.GetTaskRequest, _caller: Caller
    ) -> scheduler_pb2.GetTaskResponse:
        """One task in one version, the newest deployed one if none is given."""
        return scheduler_pb2.GetTaskResponse(task=await self.resolve(request.task))

    async def list_tasks(
        self, request: scheduler_pb2.ListTasksRequest, _caller: Caller
    ) -> scheduler_pb2.ListTasksResponse:
        """A scope's tasks by name: the newest of each, or every version."""
        project, domain = scope_of(request.scope)
        if request.all_versions:
            tasks = await self._database.tasks(project, domain)
        else:
            tasks = self._live.newest(project, domain)
        found, token = paging.page(
            tasks,
            lambda task: f"{task.spec.name} {task.environment.version}",
            request.page_size,
            request.page_token,
        )
        return scheduler_pb2.ListTasksResponse(tasks=found, next_page_token=token)

    async def resolve(self, ref: scheduler_pb2.TaskRef) -> scheduler_pb2.Task:
        """The task that is meant: by full name, or by function or short name where
        that is the only one. Raises `NotFoundError` or, for several,
        `InvalidArgumentError`."""
        if self._deploys != self._live.deploys:
            self._deploys = self._live.deploys
            self._resolved.clear()
        asked = ref.SerializeToString()
        task = self._resolved.get(asked)
        if task is None:
            task = await self._resolve(ref)
            if len(self._resolved) < MAX_RESOLVED:
                self._resolved[asked] = task
        return task

    async def _resolve(self, ref: scheduler_pb2.TaskRef) -> scheduler_pb2.Task:
        problems = Problems()
        project, domain = scope_of(ref.scope, problems)
        problems.text(ref.name, MAX_NAME, "task.name")
        if not ref.name:
            problems.add("`task.name` must be set")
        if ref.version:
            problems.version(ref.version, "task.version")
        problems.raise_if_any()
        if not ref.version:
            exact = self._live.newest_of(project, domain, ref.name)
            candidates = [exact] if exact else self._live.newest(project, domain)
        else:
            candidates = await self._versions(TaskKey(project, domain, ref.name, ref.version))
        matches = [task for task in candidates if _answers_to(task, ref.name)]
        exact_matches = [task for task in matches if task.spec.name == ref.name]
        found = exact_matches or matches
        if len(found) == 1:
            return found[0]
        if found:
            names = ", ".join(f"`{name}`" for name in sorted(task.spec.name for task in found))
            raise InvalidArgumentError(
                f"`{ref.name}` is ambiguous in {project}/{domain}: say one of {names}"
            )
        raise await self._not_found(project, domain, ref, candidates)

    async def _versions(self, key: TaskKey) -> list[scheduler_pb2.Task]:
        known = self._live.task(key)
        if known is not None:
            return [known]
        return await self._database.tasks(key.project, key.domain, version=key.version)

    async def _not_found(
        self,
        project: str,
        domain: str,
        ref: scheduler_pb2.TaskRef,
        candidates: Iterable[scheduler_pb2.Task],
    ) -> NotFoundError:
        where = f"{project}/{domain}"
        version = f" in version `{ref.version}`" if ref.version else ""
        sentence = f"there is no task `{ref.name}`{version} in {where}"
        other = self._live.newest(project, domain) if ref.version else []
        if any(_answers_to(task, ref.name) for task in other):
            newest = ", ".join(
                f"`{t.environment.version}`" for t in other if _answers_to(t, ref.name)
            )
            return NotFoundError(f"{sentence}: its newest version is {newest}")
        close = _close(ref.name, [*candidates, *other])
        if close:
            return NotFoundError(f"{sentence}: did you mean {close}?")
        elsewhere = [
            f"{task.environment.project}/{task.environment.domain}"
            for task in self._live.world.tasks.values()
            if _answers_to(task, ref.name) and not task.ephemeral
        ]
        if elsewhere:
            places = ", ".join(sorted(set(elsewhere)))
            return NotFoundError(f"{sentence}: one is in {places}; name its project and domain")
        return NotFoundError(f"{sentence}: deploy it; `callmesh get tasks` lists what there is")


def _answers_to(task: scheduler_pb2.Task, name: str) -> bool:
    spec = task.spec
    return name in (spec.name, spec.function, spec.short_name, spec.name.partition(".")[2])


def _close(name: str, tasks: Iterable[scheduler_pb2.Task]) -> str:
    import difflib

    by_text: dict[str, str] = {}
    for task in tasks:
        for text in (task.spec.name, task.spec.function, task.spec.short_name):
            if text:
                by_text[text] = task.spec.name
    texts = difflib.get_close_matches(name, by_text, n=3, cutoff=0.6)
    return " or ".join(f"`{each}`" for each in dict.fromkeys(by_text[t] for t in texts))
