"""A deployed task, found by its name: looked up when it is first needed."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Mapping
from typing import Any, Literal

from callmesh import _runtime
from callmesh._caching import cache_of, policy_of_deployed
from callmesh._sync import bridge, class_flow, method
from callmesh._transport import call
from callmesh.errors import RemoteTaskNotFoundError, RemoteTaskUsageError
from callmesh.interface import encode_call
from callmesh.plan import resources_asked, retry_policy, secret_refs, task_timeouts
from callmesh.policy import (
    Cache,
    CacheRequest,
    RetryStrategy,
    Span,
    Timeout,
    retries_of,
    timeout_of,
)
from callmesh.remote.app import scope_of
from callmesh.resources import Resources
from callmesh.secret import SecretRequest, secrets_of
from callmesh_wire.errors import NotFoundError
from callmeshpb.v1 import common_pb2, scheduler_pb2

AutoVersion = Literal["latest", "current"]
PAGE = 100


class TaskDetails:
    """A deployed task. Awaited it is looked up without blocking, else at first use.

    ``await TaskDetails.fetch(…)`` and ``TaskDetails.fetch(…)`` both give one.
    """

    def __init__(self, ref: scheduler_pb2.TaskRef) -> None:
        self._ref = ref
        self._found: scheduler_pb2.Task | None = None
        self._changes = scheduler_pb2.Submission()
        self._cache: Cache | None = None

    @classmethod
    def fetch(
        cls,
        name: str,
        project: str | None = None,
        domain: str | None = None,
        version: str | None = None,
        auto_version: AutoVersion | None = None,
    ) -> TaskDetails:
        """A deployed task by full name, function name or short name.

        The newest version unless one is named; ``auto_version="current"`` is
        the version of the run that asks. One that does not exist raises
        `errors.RemoteTaskNotFoundError` when it is looked up.
        """
        if version is None and auto_version == "current":
            attempt = _runtime.current()
            version = attempt.version if attempt else None
        scope = scope_of(project, domain)
        return cls(scheduler_pb2.TaskRef(scope=scope, name=name, version=version or ""))

    @classmethod
    def get(
        cls,
        name: str,
        project: str | None = None,
        domain: str | None = None,
        version: str | None = None,
        auto_version: AutoVersion | None = None,
    ) -> TaskDetails:
        """The same as `fetch`."""
        return cls.fetch(name, project, domain, version, auto_version)

    def __await__(self) -> Generator[Any, None, TaskDetails]:
        async def looked_up() -> TaskDetails:
            await bridge().arun(self.load())
            return self

        return looked_up().__await__()

    async def load(self) -> scheduler_pb2.Task:
        """Look it up, once. For code on the bridge's loop."""
        if self._found is None:
            request = scheduler_pb2.GetTaskRequest(task=self._ref)
            try:
                answer = await call(
                    scheduler_pb2.GetTaskResponse, "SchedulerService/GetTask", request
                )
            except NotFoundError:
                raise RemoteTaskNotFoundError(_not_found(self._ref)) from None
            self._found = answer.task
        return self._found

    @property
    def pb2(self) -> scheduler_pb2.Task:
        """The whole record; looked up now if it was not."""
        return self._found if self._found is not None else bridge().run(self.load())

    @property
    def name(self) -> str:
        """Its full name once it was looked up, until then the one that was asked for."""
        return self._found.spec.name if self._found is not None else self._ref.name

    @property
    def version(self) -> str:
        """Its version."""
        return self.pb2.environment.version

    @property
    def interface(self) -> scheduler_pb2.TaskInterface:
        """Its parameters and its result."""
        return self.pb2.spec.interface

    @property
    def required_args(self) -> tuple[str, ...]:
        """Names of the arguments without a default."""
        return tuple(each.name for each in self.interface.parameters if each.required)

    @property
    def default_input_args(self) -> tuple[str, ...]:
        """Names of the arguments with a default."""
        return tuple(each.name for each in self.interface.parameters if not each.required)

    @property
    def resources(self) -> common_pb2.Resources:
        """What an attempt needs."""
        record = self.pb2
        own = record.spec.resources
        return own if record.spec.HasField("resources") else record.environment.resources

    @property
    def secrets(self) -> tuple[str, ...]:
        """Keys of its secrets."""
        return tuple(each.key for each in self.pb2.environment.secrets)

    @property
    def task_type(self) -> str:
        """What runs it."""
        return "python"

    def override(
        self,
        *,
        short_name: str | None = None,
        retries: int | RetryStrategy | None = None,
        timeout: Span | Timeout | None = None,
        env_vars: Mapping[str, str] | None = None,
        resources: Resources | None = None,
        secrets: SecretRequest | None = None,
        cache: CacheRequest | None = None,
        **unknown: object,
    ) -> TaskDetails:
        """The same task with changes, for its next runs.

        ``secrets`` are given besides its environment's. `cache="auto"` keeps the
        version that was deployed; a task without one needs a `Cache("override", …)`.
        """
        if unknown:
            raise TypeError(
                f"`override` of a deployed task cannot change `{next(iter(unknown))}`: only "
                "`short_name`, `retries`, `timeout`, `env_vars`, `resources`, `secrets` and "
                "`cache`"
            )
        copy = TaskDetails(self._ref)
        copy._found = self._found
        copy._cache = self._cache if cache is None else cache_of(cache)
        copy._changes.CopyFrom(self._changes)
        if short_name:
            copy._changes.short_name = short_name
        if resources is not None:
            copy._changes.resources.CopyFrom(resources_asked(resources))
        copy._changes.secrets.extend(secret_refs(secrets_of(secrets)))
        if retries is not None:
            copy._changes.retries.CopyFrom(
                retry_policy(retries_of(retries)) or scheduler_pb2.RetryPolicy()
            )
        if timeout is not None:
            limits = task_timeouts(timeout_of(timeout))
            copy._changes.timeouts.CopyFrom(limits or scheduler_pb2.TaskTimeouts())
        copy._changes.env_vars.update(env_vars or {})
        return copy

    async def submission(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> scheduler_pb2.Submission:
        """A submission of it, arguments checked. For code on the bridge's loop."""
        found = await self.load()
        made = scheduler_pb2.Submission(
            task=scheduler_pb2.TaskRef(
                scope=common_pb2.Scope(
                    project=found.environment.project, domain=found.environment.domain
                ),
                name=found.spec.name,
                version=found.environment.version,
            ),
            inputs=encode_call(found.spec.name, found.spec.interface, args, kwargs),
        )
        made.MergeFrom(self._changes)
        if self._cache is not None:
            made.cache.CopyFrom(policy_of_deployed(self._cache, found.spec))
        return made

    async def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Inside a run: a child run. Elsewhere see `callmesh.run`."""
        attempt = _runtime.current()
        if attempt is None or attempt.mode == "local":
            raise RemoteTaskUsageError(
                f"deployed task `{self.name}` cannot be executed locally: run it with "
                "`callmesh.run(task, …)`"
            )
        from callmesh import _children

        return await _children.acall_remote(self, args, kwargs)

    def __repr__(self) -> str:
        version = f" version `{self._ref.version}`" if self._ref.version else ""
        return f"<deployed task `{self.name}`{version}>"


class LazyEntity(TaskDetails):
    """A deployed task as `Task.get` gives it."""

    @method
    async def fetch(self) -> TaskDetails:  # type: ignore[override]
        """Look it up. Raises `errors.RemoteTaskNotFoundError`."""
        await self.load()
        return self


class Task:
    """Deployed tasks, by name or listed."""

    def __init__(self, record: scheduler_pb2.Task) -> None:
        self.pb2 = record

    @staticmethod
    def get(
        name: str,
        project: str | None = None,
        domain: str | None = None,
        version: str | None = None,
        auto_version: AutoVersion | None = None,
    ) -> LazyEntity:
        """A deployed task, looked up when it is first needed: see `TaskDetails.fetch`."""
        found = TaskDetails.fetch(name, project, domain, version, auto_version)
        return LazyEntity(found._ref)

    @class_flow
    @classmethod
    async def listall(
        cls,
        /,
        by_task_name: str | None = None,
        by_task_env: str | None = None,
        project: str | None = None,
        domain: str | None = None,
        *,
        limit: int = 100,
        **_options: object,
    ) -> AsyncGenerator[Task, None]:
        """Deployed tasks in their newest versions, at most ``limit``."""
        token, given = "", 0
        while given < limit:
            answer = await call(
                scheduler_pb2.ListTasksResponse,
                "SchedulerService/ListTasks",
                scheduler_pb2.ListTasksRequest(
                    scope=scope_of(project, domain), page_size=PAGE, page_token=token
                ),
            )
            for record in answer.tasks:
                if by_task_env and record.environment.name != by_task_env:
                    continue
                if by_task_name and record.spec.name != by_task_name:
                    continue
                yield cls(record)
                given += 1
                if given >= limit:
                    return
            token = answer.next_page_token
            if not token:
                return

    @property
    def name(self) -> str:
        """Its full name."""
        return self.pb2.spec.name

    @property
    def version(self) -> str:
        """Its version."""
        return self.pb2.environment.version

    def __repr__(self) -> str:
        return f"<deployed task `{self.name}` version `{self.version}`>"


def _not_found(ref: scheduler_pb2.TaskRef) -> str:
    version = f" in version `{ref.version}`" if ref.version else ""
    return (
        f"task `{ref.name}`{version} is not deployed in project `{ref.scope.project}`, domain "
        f"`{ref.scope.domain}`: deploy it, or list what is there with `callmesh get tasks`"
    )
