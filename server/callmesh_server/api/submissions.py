"""A submission becomes a run: checked against its task, recorded, begun.

RunTask and Submit are two doors to this one way.
"""

from __future__ import annotations

import base64
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from callmesh_server.api import specs
from callmesh_server.api.addresses import Addresses
from callmesh_server.api.caller import Caller
from callmesh_server.api.tasks import TaskApi
from callmesh_server.api.validate import (
    MAX_CONTEXT,
    MAX_INLINE,
    MAX_TEXT,
    Problems,
    check_request_id,
)
from callmesh_server.apply import Applier
from callmesh_server.core import caching, equals
from callmesh_server.core.times import seconds, stamp
from callmesh_server.live import Live
from callmesh_server.store.blobs import Blobs
from callmesh_wire import trace
from callmesh_wire.errors import (
    AlreadyExistsError,
    CallmeshError,
    FailedPreconditionError,
)
from callmesh_wire.names import check_run
from callmeshpb.v1 import scheduler_pb2

if TYPE_CHECKING:
    from callmesh_server.store.database import Database

Done = Callable[[CallmeshError | None], None]


@dataclass(frozen=True, slots=True)
class Begun:
    """The run of a submission; ``done`` was not used for one that existed before."""

    run: str
    existed: bool = False


class Submissions:
    """Begins runs."""

    def __init__(
        self,
        live: Live,
        database: Database,
        applier: Applier,
        tasks: TaskApi,
        blobs: Blobs,
        addresses: Addresses,
    ) -> None:
        self._live = live
        self._database = database
        self._applier = applier
        self._tasks = tasks
        self._blobs = blobs
        self._addresses = addresses

    async def begin(
        self, submission: scheduler_pb2.Submission, caller: Caller, done: Done
    ) -> Begun:
        """Begin the run. ``done`` is called with None once it is on disk.

        It is called with `AlreadyExistsError` when the disk knows its name or
        its request id: then ask `existing`. What is wrong with the submission
        itself is raised here.
        """
        known = self._live.by_request.get(submission.request_id)
        if known is not None:
            self._applier.flush(done)
            return Begun(known, existed=True)
        self._check(submission)
        task = await self._tasks.resolve(submission.task)
        if not submission.HasField("step"):
            _check_inputs(submission, task)
        if submission.run_name and await self._live.run_without_inputs(submission.run_name):
            name = await self.existing(submission)
            self._applier.flush(done)
            return Begun(name, existed=True)
        use = self._cache_use(submission)
        executes = use == scheduler_pb2.CACHE_USE_DISABLE or submission.HasField("step")
        key = "" if executes else caching.key_of(submission, task)
        kept = None
        if key and use != scheduler_pb2.CACHE_USE_OVERWRITE:
            policy = caching.policy_of(submission, task)
            kept = await self._kept(key, policy)
            checked = 0
            while not kept and policy.serialize and self._live.result_mark(key) != checked:
                # An equal run has ended meanwhile: its result is on its way to the disk.
                checked = self._live.result_mark(key)
                await self._applier.commit()
                kept = await self._kept(key, policy)
        # Nothing waits from here on: what was checked still holds at the end.
        run = self._run(submission, task, caller)
        if run.name in self._live.world.runs:
            raise _name_taken(run.name)
        self._check_parent(submission.parent)
        run.cache_use, run.cache_key = use, key
        overwrites = use == scheduler_pb2.CACHE_USE_OVERWRITE
        is_alone = overwrites or kept is not None or not key
        run.cache_serialize = not is_alone and caching.policy_of(submission, task).serialize
        if kept is not None:
            _end_by(run, kept)
        if submission.HasField("step"):
            _end_as(run, submission.step)
        inputs = scheduler_pb2.Run(inputs=submission.inputs)
        self._applier.begin_run(run, inputs, task, submission.request_id, done)
        return Begun(run.name)

    async def existing(self, submission: scheduler_pb2.Submission) -> str:
        """The run that this request made before. Raises `AlreadyExistsError` where the
        name is another request's."""
        if submission.request_id:
            run = await self._database.run_by_request(submission.request_id)
            if run is not None:
                return run.name
        raise _name_taken(submission.run_name)

    def _cache_use(self, submission: scheduler_pb2.Submission) -> scheduler_pb2.CacheUse:
        """The submission's own wish, or its parent's."""
        parent = self._live.world.runs.get(submission.parent)
        if submission.cache_use or parent is None:
            return submission.cache_use
        return parent.cache_use

    async def _kept(self, key: str, policy: scheduler_pb2.CachePolicy) -> scheduler_pb2.Run | None:
        """The run whose result stands for that of a new one, if any."""
        run = await self._database.cached_run(key)
        if run is None or not caching.is_fresh(run, policy, time.time()):
            return None
        refs = [each.ref.digest for each in run.outputs if each.WhichOneof("kind") == "ref"]
        return run if all(map(self._blobs.claim, refs)) else None

    def _check(self, submission: scheduler_pb2.Submission) -> None:
        check_request_id(submission.request_id)
        problems = Problems()
        if submission.run_name:
            problems.name(check_run, submission.run_name)
        if submission.parent:
            problems.name(check_run, submission.parent, "parent")
        size = sum(value.ByteSize() for value in submission.inputs.values())
        if size > MAX_INLINE:
            problems.add(
                f"`inputs` have {size:,} bytes: must be at most {MAX_INLINE:,}; upload larger "
                "values as blobs"
            )
        problems.text(submission.group, 256, "group")
        if submission.custom_context:
            problems.count(submission.custom_context, MAX_CONTEXT, "custom_context")
        for key, value in submission.custom_context.items():
            problems.text(key, 256, "custom_context")
            problems.text(value, MAX_TEXT, f"custom_context[{key[:60]}]")
        for each in ("env_vars", "run_env_vars"):
            if getattr(submission, each):
                problems.env_vars(getattr(submission, each), each)
        if submission.HasField("retries"):
            specs.check_retries(submission.retries, "the submission", problems)
        if submission.HasField("timeouts"):
            specs.check_timeouts(submission.timeouts, "the submission", problems)
        if submission.HasField("resources"):
            specs.check_resources(submission.resources, "the submission", problems)
        problems.text(submission.short_name, 130, "short_name")
        problems.count(submission.secrets, 100, "secrets")
        specs.check_secrets(submission.secrets, "the submission", problems)
        if submission.HasField("step"):
            _check_step(submission, problems)
        if submission.HasField("cache"):
            specs.check_cache(submission.cache, "the submission", problems)
        problems.raise_if_any()
        for name, given in submission.inputs.items():
            if given.WhichOneof("kind") == "ref" and not self._blobs.claim(given.ref.digest):
                raise FailedPreconditionError(
                    f"input `{name}`: there is no blob `{given.ref.digest[:70]}`: upload it first"
                )

    def _check_parent(self, parent: str) -> None:
        if parent and parent not in self._live.world.runs:
            raise FailedPreconditionError(
                f"parent run `{parent}` has ended or does not exist: a run that has ended "
                "cannot start others"
            )

    def _run(
        self, submission: scheduler_pb2.Submission, task: scheduler_pb2.Task, caller: Caller
    ) -> scheduler_pb2.Run:
        name = submission.run_name or _new_name()
        context = submission.traceparent
        trace_id = trace.trace_id(context) if context else ""
        if not trace_id:
            context = trace.new_traceparent(os.urandom)
            trace_id = trace.trace_id(context)
        run = scheduler_pb2.Run(
            name=name,
            project=task.environment.project,
            domain=task.environment.domain,
            task=task.spec.name,
            task_version=task.environment.version,
            phase=scheduler_pb2.RUN_PHASE_QUEUED,
            parent=submission.parent,
            group=submission.group,
            trace_id=trace_id,
            traceparent=context,
            custom_context=submission.custom_context,
            idempotency_key=name,
            created_at=stamp(time.time()),
            url=self._addresses.run(name),
            etag=1,
            requested_by=caller.label,
        )
        parent = self._live.world.runs.get(submission.parent)
        inherited = parent.run_env_vars if parent is not None else {}
        run.run_env_vars.update({**inherited, **submission.run_env_vars})
        run.env_vars.update({**run.run_env_vars, **submission.env_vars})
        if submission.HasField("retries"):
            run.retries.CopyFrom(submission.retries)
        if submission.HasField("timeouts"):
            run.timeouts.CopyFrom(submission.timeouts)
        if submission.HasField("resources"):
            run.resources.CopyFrom(submission.resources)
        run.short_name = submission.short_name
        run.secrets.extend(submission.secrets)
        return run


def _end_by(run: scheduler_pb2.Run, kept: scheduler_pb2.Run) -> None:
    """End a new run with the result of an earlier one: nothing executes."""
    run.phase = scheduler_pb2.RUN_PHASE_SUCCEEDED
    run.message = equals.take_result(run, kept)
    run.ended_at.CopyFrom(run.created_at)


def _end_as(run: scheduler_pb2.Run, step: scheduler_pb2.RecordedStep) -> None:
    """End a new run as its parent says that the step has ended."""
    run.step = step.function
    run.phase = scheduler_pb2.RUN_PHASE_SUCCEEDED
    if step.HasField("error"):
        run.phase = scheduler_pb2.RUN_PHASE_FAILED
        run.error.CopyFrom(step.error)
        run.message = step.error.message
    run.outputs.extend(step.outputs)
    run.outputs_is_tuple = step.outputs_is_tuple
    run.ended_at.CopyFrom(run.created_at)
    started = min(seconds(step.started_at), seconds(run.ended_at))
    run.started_at.CopyFrom(stamp(started))
    run.created_at.CopyFrom(stamp(started))


def _check_step(submission: scheduler_pb2.Submission, problems: Problems) -> None:
    step = submission.step
    if not submission.parent:
        problems.add("`step` must come with the `parent` that executed it")
    if not step.function:
        problems.add("`step.function` must be set")
    problems.text(step.function, 256, "step.function")
    size = sum(value.ByteSize() for value in step.outputs) + step.error.ByteSize()
    if size > MAX_INLINE:
        problems.add(f"`step` has {size:,} bytes: must be at most {MAX_INLINE:,}")


def _check_inputs(submission: scheduler_pb2.Submission, task: scheduler_pb2.Task) -> None:
    problems = Problems()
    interface = task.spec.interface
    declared = {parameter.name: parameter for parameter in interface.parameters}
    for name in submission.inputs:
        if name not in declared and not interface.accepts_extra:
            known = ", ".join(f"`{each}`" for each in declared) or "none"
            problems.add(f"task `{task.spec.name}` has no parameter `{name[:70]}`; it has {known}")
    for name, parameter in declared.items():
        if parameter.required and name not in submission.inputs:
            kind = f" ({parameter.type})" if parameter.type else ""
            problems.add(f"task `{task.spec.name}` needs `{name}`{kind}")
    problems.raise_if_any()


def _new_name() -> str:
    """13 random characters of [0-9a-v] after an `r`: 65 bits."""
    return "r" + base64.b32hexencode(os.urandom(10))[:13].decode().lower()


def _name_taken(name: str) -> AlreadyExistsError:
    return AlreadyExistsError(
        f"there is a run `{name}` already: choose another name, or leave it out"
    )
