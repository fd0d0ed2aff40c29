"""What a `RunOutput` stands for, looked up when an app is deployed."""

from __future__ import annotations

from typing import Any

from callmesh import _runtime
from callmesh.app.parameters import RunOutput, is_content
from callmesh.errors import (
    ParameterMaterializationError,
    RemoteTaskNotFoundError,
    RunNotFoundError,
)
from callmesh.remote import ActionPhase, Run, TaskDetails
from callmesh.remote.outputs import outputs_of

# Succeeded runs of a task that are looked through for one of its versions.
LOOKED_AT = 1000


async def output_of(wanted: RunOutput, owner: str) -> Any:
    """The value. ``owner`` names the parameter in errors.

    Raises `ParameterMaterializationError`. For code on the bridge's loop.
    """
    run = await (_named(wanted, owner) if wanted.run_name else _newest(wanted, owner))
    value: Any = await outputs_of(run.pb2)
    for step in wanted.getter:
        try:
            value = value[step]
        except (KeyError, IndexError, TypeError):
            raise ParameterMaterializationError(
                f"{owner}: the output of run `{run.name}` has no {step!r}"
            ) from None
    if not isinstance(value, str | int | float | bool) and not is_content(value):
        raise ParameterMaterializationError(
            f"{owner}: the output of run `{run.name}` is a `{type(value).__name__}`: must be a "
            "string, a number, a boolean, a `File` or a `Dir`"
        )
    return value


async def _named(wanted: RunOutput, owner: str) -> Run:
    assert wanted.run_name is not None
    try:
        run = await Run.get.aio(wanted.run_name)
    except RunNotFoundError:
        raise ParameterMaterializationError(
            f"{owner} is the output of run `{wanted.run_name}`, which does not exist: list what "
            "there is with `callmesh get runs`"
        ) from None
    if run.phase is not ActionPhase.SUCCEEDED:
        how = f"has ended as {run.phase}" if run.done() else "has not ended"
        raise ParameterMaterializationError(
            f"{owner} is the output of run `{run.name}`, which {how}: it must have succeeded"
        )
    return run


async def _newest(wanted: RunOutput, owner: str) -> Run:
    """The newest succeeded run of a task, in the version that is asked for."""
    version = await _version(wanted, owner)
    limit = LOOKED_AT if version else 1
    async for each in Run.listall.aio(
        in_phase="succeeded", task_name=wanted.task_name, limit=limit
    ):
        if not version or each.pb2.task_version == version:
            return await Run.get.aio(each.name)
    which = f" in version `{version}`" if version else ""
    raise ParameterMaterializationError(
        f"{owner} is the output of task `{wanted.task_name}`{which}, which has not succeeded yet: "
        "run it first"
    )


async def _version(wanted: RunOutput, owner: str) -> str:
    """The version to look for; "" for any."""
    if wanted.task_version:
        return wanted.task_version
    attempt = _runtime.current()
    if wanted.task_auto_version == "current" and attempt is not None:
        return attempt.version
    if wanted.task_auto_version is None:
        return ""
    assert wanted.task_name is not None
    try:
        found = await TaskDetails.fetch(wanted.task_name).load()
    except RemoteTaskNotFoundError as problem:
        raise ParameterMaterializationError(f"{owner}: {problem}") from None
    return found.environment.version
