"""`run`: start a run of a task, here or on the mesh."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from callmesh import (
    _blobs,
    _children,
    _local_cache,
    _notices,
    _runtime,
    _submit,
    graph,
    local,
    settings,
)
from callmesh import values as wire_values
from callmesh._local_apps import APPS
from callmesh._registering import Mode, RunContext, registry
from callmesh._sync import Verb, bridge, verb
from callmesh._transport import call, new_request_id
from callmesh.bundle import CopyStyle
from callmesh.environment import Environment, TaskEnvironment
from callmesh.errors import RunAlreadyExistsError
from callmesh.local import LocalRun
from callmesh.remote.details import fetch
from callmesh.remote.run import Run
from callmesh.remote.task import TaskDetails
from callmesh.task import Task
from callmesh_wire.errors import AlreadyExistsError, NotFoundError, UnimplementedError
from callmeshpb.v1 import common_pb2, scheduler_pb2


class Runner:
    """Starts runs in one way: ``run(task, x=1)`` blocks until the mesh has it, ``run.aio`` too."""

    def __init__(self, context: RunContext) -> None:
        self.context = context

    @property
    def run(self) -> Runner:
        """Itself: ``with_runcontext(…).run(task)``."""
        return self

    def __call__(self, task: Any, /, *args: Any, **kwargs: Any) -> Run:
        """Start a run of a task with these arguments; a handle of it.

        In local mode the run has ended when this returns, and its failure is
        raised here; apps that the task depends on are served first, until this
        process ends. Raises `errors.InputsError` for arguments that do not fit,
        `TypeError` for what is not a task.
        """
        if self._is_local(task):
            if apps := self._apps_to_bring_up(task):
                bridge().run(_bring_up(apps))
            with self._in_context():
                return _as_run(local.run(task, args, kwargs, self.context.name))
        return bridge().run(_start(task, args, kwargs, self.context))

    @property
    def rerun(self) -> Verb[[str], Run]:
        """``with_runcontext(…).rerun(name)``: see `callmesh.rerun`."""

        async def again(name: str) -> Run:
            return await _again(name, self.context)

        return Verb(again)

    async def aio(self, task: Any, /, *args: Any, **kwargs: Any) -> Run:
        """The same, awaited."""
        if self._is_local(task):
            if apps := self._apps_to_bring_up(task):
                await bridge().arun(_bring_up(apps))
            with self._in_context():
                return _as_run(await local.arun(task, args, kwargs, self.context.name))
        return await bridge().arun(_start(task, args, kwargs, self.context))

    @contextlib.contextmanager
    def _in_context(self) -> Iterator[None]:
        """What a local run is given beside its arguments."""
        APPS.keeps_script = False
        with (
            _runtime.added_context(self.context.custom_context),
            _runtime.added_variables(self.context.env_vars),
            _local_cache.used(self.context.cache_use),
        ):
            yield

    def _apps_to_bring_up(self, task: Task[..., Any]) -> list[Environment]:
        """The apps that a local run depends on, where no mesh may have them."""
        is_on_mesh = settings.current().mode != settings.LOCAL
        if self.context.no_deps or is_on_mesh or _runtime.current() is not None:
            return []
        if not task.environment.depends_on:
            return []
        found = graph.order([task.environment])
        return [each for each in found if not isinstance(each, TaskEnvironment)]

    def _is_local(self, task: object) -> bool:
        if not isinstance(task, Task | TaskDetails):
            kind = "a function" if inspect.isroutine(task) else repr(task)
            raise TypeError(
                f"`run` takes a task: a function decorated with `@env.task`, or a deployed task "
                f"of `callmesh.remote`, not {kind}"
            )
        if not self.context.is_local:
            return False
        if isinstance(task, TaskDetails):
            raise ValueError(
                f"Remote tasks such as `{task.name}` can only be run in remote mode: call "
                "`callmesh.init_from_config()` first, or set `CALLMESH_ENDPOINT`"
            )
        return True


# Options of Flyte's that change nothing here: what they are for does not exist, or is always so.
_WITHOUT_MEANING = (
    "cache_lookup_scope",
    "interactive_mode",
    "log_format",
    "log_level",
    "preserve_original_types",
    "tracked",
    "user_log_level",
)
_UNUSED = (
    "annotations",
    "copy_bundle_to",
    "debug",
    "dry_run",
    "interruptible",
    "labels",
    "max_action_concurrency",
    "notifications",
    "queue",
    "raw_data_path",
    "run_base_dir",
    "run_start_time",
    "service_account",
)


def with_runcontext(
    mode: Mode | None = None,
    *,
    name: str | None = None,
    version: str | None = None,
    copy_style: CopyStyle = "loaded_modules",
    project: str | None = None,
    domain: str | None = None,
    env_vars: Mapping[str, str] | None = None,
    custom_context: Mapping[str, str] | None = None,
    no_deps: bool = False,
    overwrite_cache: bool = False,
    disable_run_cache: bool = False,
    **options: Any,
) -> Runner:
    """Choose how to run: ``with_runcontext(name="x").run(task)``.

    ``mode`` "local" is this process, "remote" the mesh; ``name`` is the run's,
    unique in the mesh; ``env_vars`` win over the task's; with ``no_deps`` the
    apps that the task depends on are not brought up. ``env_vars``,
    ``custom_context`` and what is said of the cache hold for child runs too.
    Options of Flyte's that the mesh does not act on are named in a notice; what
    nobody knows is a `TypeError`.
    """
    if mode not in (None, "local", "remote"):
        raise ValueError(
            f'`mode` must be "local" or "remote", not {mode!r}: callmesh has no hybrid of the two'
        )
    for option in options:
        if option not in (*_WITHOUT_MEANING, *_UNUSED):
            raise TypeError(f"`with_runcontext` has no option `{option}`")
    ignored = [f"`{option}`" for option, value in options.items() if value and option in _UNUSED]
    if options.get("dry_run"):
        raise UnimplementedError(
            "`dry_run` of a run is not supported: `callmesh.deploy(env, dry_run=True)` checks "
            "what a run would register"
        )
    if ignored:
        _notices.say([f"`with_runcontext` got {', '.join(ignored)}: not acted on"])
    return Runner(
        RunContext(
            mode=mode,
            name=name or "",
            version=version or "",
            copy_style=copy_style,
            project=project or "",
            domain=domain or "",
            env_vars=dict(env_vars or {}),
            custom_context=dict(custom_context or {}),
            no_deps=no_deps,
            overwrite_cache=overwrite_cache,
            disable_run_cache=disable_run_cache,
        )
    )


run = Runner(RunContext())


@verb
async def rerun(run_name: str, *, recover: bool = False) -> Run:
    """Run a task again with the inputs, and in the version, of an earlier run.

    Raises `errors.RunNotFoundError`. A result that is kept is not used.
    """
    if recover:
        raise UnimplementedError(
            '`recover` is not supported: `rerun` executes everything; give tasks `cache="auto"` '
            "so that what succeeded is not executed again"
        )
    return await _again(run_name, RunContext())


async def _again(run_name: str, context: RunContext) -> Run:
    if not _runtime.workload_socket():
        settings.needs_mesh()
    return await _submitted(submission_again(await fetch(run_name)), context, None)


def submission_again(record: scheduler_pb2.Run) -> scheduler_pb2.Submission:
    """What would make a run again; its children decide anew about the cache."""
    made = scheduler_pb2.Submission(
        task=scheduler_pb2.TaskRef(
            scope=common_pb2.Scope(project=record.project, domain=record.domain),
            name=record.task,
            version=record.task_version,
        ),
        inputs=record.inputs,
        custom_context=record.custom_context,
        env_vars=record.env_vars,
        run_env_vars=record.run_env_vars,
        cache=scheduler_pb2.CachePolicy(),
    )
    if record.HasField("retries"):
        made.retries.CopyFrom(record.retries)
    if record.HasField("timeouts"):
        made.timeouts.CopyFrom(record.timeouts)
    if record.HasField("resources"):
        made.resources.CopyFrom(record.resources)
    made.short_name = record.short_name
    made.secrets.extend(record.secrets)
    return made


async def _start(
    task: Task[..., Any] | TaskDetails,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    context: RunContext,
) -> Run:
    if not _runtime.workload_socket():
        settings.needs_mesh()
    if isinstance(task, TaskDetails):
        return await _submitted(await task.submission(args, kwargs), context, None)
    inputs = wire_values.encode_inputs(task.func, args, kwargs)
    known = registry()
    for is_last in (False, True):
        ref = await known.ref_of(task, context)
        try:
            submission = _children.submission_of(task, inputs, ref)
            return await _submitted(submission, context, task.func)
        except NotFoundError:
            # The mesh has forgotten what this process registered.
            if is_last or not known.forget(task, context):
                raise
    raise AssertionError("unreachable")


async def _submitted(
    submission: scheduler_pb2.Submission,
    context: RunContext,
    function: Callable[..., object] | None,
) -> Run:
    submission.run_name = context.name
    submission.run_env_vars.update(context.env_vars)
    submission.cache_use = context.cache_use
    _children.stamp(submission, _runtime.current())
    submission.custom_context.update(context.custom_context)
    await _blobs.offload_in(submission)
    if settings.current().passthrough:
        return await _submitted_alone(submission, function)
    pending = _submit.submitter().submit(submission)
    try:
        record = await pending.accepted()
    except AlreadyExistsError as problem:
        raise RunAlreadyExistsError(problem.message) from None
    return Run(record, pending=pending, function=function)


async def _submitted_alone(
    submission: scheduler_pb2.Submission, function: Callable[..., object] | None
) -> Run:
    """A call of its own: the standing stream is one caller's, this one may be another's."""
    submission.request_id = new_request_id()
    request = scheduler_pb2.RunTaskRequest(submission=submission)
    try:
        answer = await call(scheduler_pb2.RunTaskResponse, "SchedulerService/RunTask", request)
    except AlreadyExistsError as problem:
        raise RunAlreadyExistsError(problem.message) from None
    return Run(answer.run, function=function)


async def _bring_up(apps: Sequence[Environment]) -> None:
    """Serve apps on this machine until this process ends, those that are not served yet."""
    from callmesh import _local_serving

    await _local_serving.bring_up(apps, _local_serving.Serving())


def _as_run(made: LocalRun) -> Run:
    # One surface, two implementations: users see a run.
    return made  # type: ignore[return-value]
