"""`run`: start a run of a task, here or on the mesh."""

from __future__ import annotations

import contextlib
import inspect
import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from callmesh import (
    _blobs,
    _children,
    _deploying,
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
from callmesh._sync import bridge
from callmesh._transport import call, new_request_id
from callmesh.bundle import CopyStyle
from callmesh.environment import Environment, TaskEnvironment, environments
from callmesh.errors import RunAlreadyExistsError
from callmesh.local import LocalRun
from callmesh.remote.run import Run
from callmesh.remote.task import TaskDetails
from callmesh.task import Task
from callmesh_wire.errors import AlreadyExistsError, NotFoundError
from callmeshpb.v1 import common_pb2, scheduler_pb2

Mode = Literal["local", "remote", "hybrid"]

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
    unique in the mesh; ``env_vars`` win over the task's; ``custom_context``
    travels to child runs; with ``no_deps`` the apps that the task depends on are
    not brought up. Options of Flyte's that the mesh does not act on yet are named
    in a notice.
    """
    ignored = [f"`{option}`" for option, value in options.items() if value]
    if ignored:
        _notices.say([f"`with_runcontext` got {', '.join(ignored)}: not acted on yet"])
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
    registry = _registry()
    for is_last in (False, True):
        ref = await registry.ref_of(task, context)
        try:
            submission = _children.submission_of(task, inputs, ref)
            return await _submitted(submission, context, task.func)
        except NotFoundError:
            # The mesh has forgotten what this process registered.
            if is_last or not registry.forget(task, context):
                raise
    raise AssertionError("unreachable")


async def _submitted(
    submission: scheduler_pb2.Submission,
    context: RunContext,
    function: Callable[..., object] | None,
) -> Run:
    submission.run_name = context.name
    submission.env_vars.update(context.env_vars)
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


def _registry() -> Registry:
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


async def _bring_up(apps: Sequence[Environment]) -> None:
    """Serve apps on this machine until this process ends, those that are not served yet."""
    from callmesh import _local_serving

    await _local_serving.bring_up(apps, _local_serving.Serving())


def _as_run(made: LocalRun) -> Run:
    # One surface, two implementations: users see a run.
    return made  # type: ignore[return-value]
