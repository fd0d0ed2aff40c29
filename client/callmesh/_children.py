"""Calls of tasks inside a run: each is a run of its own, a child of this one."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from callmesh import _blobs, _runtime, _submit, values
from callmesh._caching import policy_of
from callmesh._runtime import AttemptContext
from callmesh._sync import bridge, in_loop
from callmesh.errors import (
    RemoteTaskNotFoundError,
    SyncTaskCallInAsyncContextError,
    TraceDoesNotAllowNestedTasksError,
)
from callmesh.plan import resources_asked, retry_policy, secret_refs, task_timeouts
from callmesh_wire.errors import NotFoundError
from callmeshpb.v1 import common_pb2, scheduler_pb2

if TYPE_CHECKING:
    from callmesh.remote.task import TaskDetails
    from callmesh.task import Task


def call(task: Task[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """A plain call: blocking for a sync task, a coroutine for an async one."""
    if task.is_async:
        return acall(task, args, kwargs)
    if in_loop():
        raise SyncTaskCallInAsyncContextError(
            f"sync task `{task.name}` was called from async code, which it would block: "
            f"`await {task.func.__name__}.aio(…)` instead"
        )
    attempt = _attempt(task.name)
    if attempt.mode == "local":
        from callmesh import local

        return local.call(task, args, kwargs)
    return bridge().run(_run_child(task, args, kwargs, attempt))


async def acall(task: Task[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """An awaited call."""
    attempt = _attempt(task.name)
    if attempt.mode == "local":
        from callmesh import local

        return await local.acall(task, args, kwargs)
    return await bridge().arun(_run_child(task, args, kwargs, attempt))


async def acall_remote(
    details: TaskDetails, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Any:
    """An awaited call of a deployed task."""
    return await bridge().arun(_run_deployed(details, args, kwargs, _attempt(details.name)))


def submission_of(
    task: Task[..., Any],
    inputs: Mapping[str, common_pb2.Value],
    ref: scheduler_pb2.TaskRef,
) -> scheduler_pb2.Submission:
    """A submission of a local task's deployed form, with what `override` changed."""
    options = task.options
    made = scheduler_pb2.Submission(task=ref, inputs=inputs, env_vars=options.env_vars)
    if "retries" in options.overrides:
        made.retries.CopyFrom(retry_policy(options.retries) or scheduler_pb2.RetryPolicy())
    if "timeout" in options.overrides:
        made.timeouts.CopyFrom(task_timeouts(options.timeout) or scheduler_pb2.TaskTimeouts())
    if "cache" in options.overrides:
        made.cache.CopyFrom(policy_of(task))
    if "resources" in options.overrides and options.resources is not None:
        made.resources.CopyFrom(resources_asked(options.resources))
    if "short_name" in options.overrides:
        made.short_name = options.short_name
    made.secrets.extend(secret_refs(options.secrets))
    return made


async def _run_child(
    task: Task[..., Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    attempt: AttemptContext,
) -> Any:
    inputs = await _blobs.offload(values.encode_inputs(task.func, args, kwargs))
    known = (task.name, attempt.version)
    version = _versions().get(known, attempt.version)
    submission = submission_of(task, inputs, _ref(task, attempt, version))
    try:
        run = await _ended(submission, attempt)
    except NotFoundError as problem:
        if not version:
            raise _not_deployed(task, problem) from None
        # Not deployed together with its caller: the newest, from now on.
        _versions()[known] = ""
        newest = submission_of(task, inputs, _ref(task, attempt, ""))
        try:
            run = await _ended(newest, attempt)
        except NotFoundError as again:
            raise _not_deployed(task, again) from None
    from callmesh.remote.outputs import result_of

    return await result_of(run, task.func)


async def _run_deployed(
    details: TaskDetails,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    attempt: AttemptContext,
) -> Any:
    from callmesh.remote.outputs import result_of

    submission = await details.submission(args, kwargs)
    await _blobs.offload_in(submission)
    return await result_of(await _ended(submission, attempt))


async def _ended(
    submission: scheduler_pb2.Submission, attempt: AttemptContext
) -> scheduler_pb2.Run:
    """Submit as a child of this attempt's run, and wait for its end.

    Cancelled, it has the child aborted.
    """
    stamp(submission, attempt)
    pending = _submit.submitter().submit(submission)
    try:
        return await pending.ended()
    except asyncio.CancelledError:
        if pending.run is not None:
            bridge().group.create_task(_abort(pending.run.name))
        raise


def stamp(submission: scheduler_pb2.Submission, attempt: AttemptContext | None) -> None:
    """Say on a submission where it comes from: parent, group, trace, custom context."""
    submission.custom_context.update(_runtime.custom_context())
    if attempt is None:
        return
    submission.parent = attempt.run
    submission.group = _runtime.current_group.get()
    submission.traceparent = attempt.traceparent


async def _abort(name: str) -> None:
    from callmesh._transport import call as call_mesh
    from callmesh._transport import new_request_id
    from callmesh_wire.errors import CallmeshError

    request = scheduler_pb2.AbortRunRequest(
        request_id=new_request_id(), name=name, reason="its caller was cancelled"
    )
    try:
        await call_mesh(scheduler_pb2.AbortRunResponse, "SchedulerService/AbortRun", request)
    except CallmeshError:
        return  # it has ended, or ends with its parent


def _ref(task: Task[..., Any], attempt: AttemptContext, version: str) -> scheduler_pb2.TaskRef:
    scope = common_pb2.Scope(project=attempt.project, domain=attempt.domain)
    return scheduler_pb2.TaskRef(scope=scope, name=task.name, version=version)


def _not_deployed(task: Task[..., Any], problem: NotFoundError) -> RemoteTaskNotFoundError:
    return RemoteTaskNotFoundError(
        f"task `{task.name}` is not deployed ({problem.message}): add its environment to "
        "`depends_on` of its caller's, and deploy again"
    )


def _attempt(callee: str) -> AttemptContext:
    """The attempt that calls a task. Raises where a traced function does so."""
    step = _runtime.current_step.get()
    if step:
        raise TraceDoesNotAllowNestedTasksError(
            f"traced function `{step}` called task `{callee}`: a traced function is one step; "
            "call the task from the task itself, or leave `@trace` out"
        )
    attempt = _runtime.current()
    assert attempt is not None
    return attempt


def _versions() -> dict[tuple[str, str], str]:
    found: dict[tuple[str, str], str] = bridge().cells.setdefault("versions", {})
    return found
