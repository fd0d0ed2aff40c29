"""How a run is made, and where the mesh has the tasks of this process."""

from __future__ import annotations

import time
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from callmesh import _deploying, _notices, _runtime, settings
from callmesh._sync import bridge
from callmesh.bundle import CopyStyle
from callmesh.environment import Environment, TaskEnvironment, environments
from callmesh.task import Task
from callmeshpb.v1 import common_pb2, scheduler_pb2

Mode = Literal["local", "remote"]

# Seconds for which apps that a run depends on are taken to be there.
APPS_KEPT = 30.0


@dataclass(frozen=True, slots=True)
class RunContext:
    """How to run; what is not said is this process's own.

    With ``no_deps`` apps that the task depends on are not brought up.
    """

    mode: Mode | None = None
    name: str = ""
    project: str = ""
    domain: str = ""
    version: str = ""
    copy_style: CopyStyle = "loaded_modules"
    env_vars: Mapping[str, str] = field(default_factory=dict)
    custom_context: Mapping[str, str] = field(default_factory=dict)
    no_deps: bool = False
    overwrite_cache: bool = False
    disable_run_cache: bool = False

    @property
    def cache_use(self) -> scheduler_pb2.CacheUse:
        """What this run, and those that it makes, do with kept results."""
        if self.disable_run_cache:
            return scheduler_pb2.CACHE_USE_DISABLE
        if self.overwrite_cache:
            return scheduler_pb2.CACHE_USE_OVERWRITE
        return scheduler_pb2.CACHE_USE_UNSPECIFIED

    @property
    def is_local(self) -> bool:
        """The run is in this process."""
        if self.mode is not None:
            return self.mode == "local"
        attempt = _runtime.current()
        if attempt is not None:
            return attempt.mode == "local"
        return settings.current().mode == settings.LOCAL


class Registry:
    """Where the mesh has the tasks of this process: registered once, then known.

    A module that is loaded does not change, so neither does its version. Apps
    may be deleted by others, so what brings them up is asked again after a
    while.
    """

    def __init__(self) -> None:
        self._known: dict[Hashable, tuple[float, scheduler_pb2.TaskRef]] = {}

    async def ref_of(self, task: Task[..., Any], context: RunContext) -> scheduler_pb2.TaskRef:
        """The task as a submission names it."""
        if _runtime.workload_socket():
            return _deployed(task, context)
        key = self._key(task, context)
        until, found = self._known.get(key, (0.0, None))
        if found is None or time.monotonic() > until:
            until, found = await _register(task.environment, context)
            self._known[key] = (until, found)
        return scheduler_pb2.TaskRef(scope=found.scope, name=task.name, version=found.version)

    def forget(self, task: Task[..., Any], context: RunContext) -> bool:
        """Register it again next time; False where it was not registered from here."""
        return self._known.pop(self._key(task, context), None) is not None

    def _key(self, task: Task[..., Any], context: RunContext) -> Hashable:
        chosen = (context.project, context.domain, context.version, context.copy_style)
        tasks = tuple(id(each.func) for each in task.environment.tasks.values())
        return (id(task.environment), tasks, *chosen, context.no_deps, settings.current())


def registry() -> Registry:
    found: Registry = bridge().cells.setdefault("registry", Registry())
    return found


def _deployed(task: Task[..., Any], context: RunContext) -> scheduler_pb2.TaskRef:
    """In a workload the code is the deployed one."""
    attempt, current = _runtime.current(), settings.current()
    return scheduler_pb2.TaskRef(
        scope=common_pb2.Scope(
            project=context.project or (attempt.project if attempt else current.project),
            domain=context.domain or (attempt.domain if attempt else current.domain),
        ),
        name=task.name,
        version=context.version or (attempt.version if attempt else ""),
    )


async def _register(
    environment: TaskEnvironment, context: RunContext
) -> tuple[float, scheduler_pb2.TaskRef]:
    """Register an environment: until when that holds, and its scope and version."""
    prepared = await _deploying.prepare(
        _with_siblings(environment),
        _deploying.Options(
            project=context.project,
            domain=context.domain,
            version=context.version,
            copy_style=context.copy_style,
            ephemeral=True,
        ),
    )
    if context.no_deps:
        del prepared.request.apps[:]
    answer = await _deploying.send(prepared)
    _notices.say([*prepared.notices, *answer.notices])
    request = prepared.request
    until = time.monotonic() + APPS_KEPT if request.apps else float("inf")
    return until, scheduler_pb2.TaskRef(scope=request.scope, version=request.version)


def _with_siblings(environment: TaskEnvironment) -> list[Environment]:
    """The task's environment, and the other task environments of its module.

    They are its possible children, whether they are in `depends_on` or not.
    """
    found: list[Environment] = [environment]
    names = {environment.name}
    for each in environments():
        if not isinstance(each, TaskEnvironment) or each.origin != environment.origin:
            continue
        if each.name not in names and each.tasks:
            names.add(each.name)
            found.append(each)
    return found
