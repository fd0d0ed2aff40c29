"""A webhook's tasks and runs: the mesh's, or in local mode those of this process."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from callmesh import settings
from callmesh.environment import TaskEnvironment, environments
from callmesh.errors import (
    FailedPreconditionError,
    RemoteTaskNotFoundError,
    RunNotFoundError,
    TaskFailedError,
)
from callmesh.interface import interface_of
from callmesh.local import LocalRun
from callmesh.remote import ActionPhase, Run, TaskDetails
from callmesh.run import run as start_run
from callmesh.task import Task

KEPT = 1000

_local: dict[str, LocalRun] = {}


class Runs:
    """Starts and finds runs. In local mode a run has ended when it is answered."""

    @staticmethod
    async def task(
        name: str, project: str, domain: str, version: str | None = None
    ) -> Task[..., Any] | TaskDetails:
        """A task, looked up, so that its ``name`` is its full one.

        Raises `errors.RemoteTaskNotFoundError`, and `InvalidArgumentError` for a
        name that several tasks answer to.
        """
        if settings.current().mode != settings.LOCAL:
            return await TaskDetails.fetch(name, project, domain, version)
        return _task_here(name, project, domain)

    @staticmethod
    async def start(
        task: Task[..., Any] | TaskDetails, inputs: Mapping[str, Any]
    ) -> Run | LocalRun:
        """Start a run. Raises `errors.InputsError` naming what does not fit."""
        if isinstance(task, TaskDetails):
            return await start_run.aio(task, **inputs)
        try:
            made: Any = await start_run.aio(task, **inputs)
        except TaskFailedError as problem:
            made = LocalRun(task, problem.run)
            made.fail(problem.__cause__ or problem)
        _local[made.name] = made
        while len(_local) > KEPT:
            del _local[next(iter(_local))]
        return made  # type: ignore[no-any-return]

    @staticmethod
    def describe(task: Task[..., Any] | TaskDetails) -> dict[str, Any]:
        """A task's name, version and arguments."""
        version = ""
        secrets: tuple[str, ...] = ()
        if isinstance(task, TaskDetails):
            version, interface, secrets = task.version, task.interface, task.secrets
        else:
            interface = interface_of(task.func)
        return {
            "name": task.name,
            "version": version,
            "task_type": "python",
            "required_args": [each.name for each in interface.parameters if each.required],
            "default_input_args": [each.name for each in interface.parameters if not each.required],
            "arguments": {each.name: each.type for each in interface.parameters},
            "result": interface.result_type,
            "secrets": list(secrets),
        }

    @staticmethod
    async def find(name: str) -> Run | LocalRun:
        """A run. Raises `errors.RunNotFoundError`."""
        if settings.current().mode != settings.LOCAL:
            return await Run.get.aio(name)
        if name not in _local:
            raise RunNotFoundError(f"run `{name}` was not started here, or is long over")
        return _local[name]

    @staticmethod
    async def values(run: Run | LocalRun) -> tuple[Any, Any]:
        """Its arguments, and what it returned by name; None for what is not known."""
        succeeded = run.phase is ActionPhase.SUCCEEDED
        outputs = (await run.outputs.aio()).named_outputs if succeeded else None
        inputs = await run.inputs.aio() if isinstance(run, Run) else None
        return inputs, outputs

    @staticmethod
    async def abort(run: Run | LocalRun, reason: str) -> None:
        """End it. Raises `FailedPreconditionError` for one that has ended."""
        if isinstance(run, LocalRun):
            raise FailedPreconditionError(f"run `{run.name}` has ended already: it {run.phase}")
        await run.abort.aio(reason)


def _task_here(name: str, project: str, domain: str) -> Task[..., Any]:
    for each in environments():
        tasks = each.tasks.values() if isinstance(each, TaskEnvironment) else ()
        for task in tasks:
            if name in (task.name, task.options.short_name, task.func.__name__):
                return task
    raise RemoteTaskNotFoundError(
        f"task `{name}` of {domain}/{project} is not declared in this process, and there is no mesh"
    )
