"""A task: a function of an environment, callable here and runnable on the mesh."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, cast

from callmesh import _runtime
from callmesh.policy import (
    NO_RETRIES,
    NO_TIMEOUT,
    NOTHING_UNUSED,
    CacheRequest,
    RetryStrategy,
    Span,
    Timeout,
    Unused,
    retries_of,
    timeout_of,
)
from callmesh.resources import Resources
from callmesh.secret import Secret, SecretRequest, secrets_of
from callmesh_wire import names

if TYPE_CHECKING:
    from callmesh.environment import TaskEnvironment

P = ParamSpec("P")
R = TypeVar("R")

_UNUSED = (
    "pod_template",
    "report",
    "interruptible",
    "queue",
    "service_account",
    "triggers",
    "links",
    "task_resolver",
    "produces_artifacts",
    "reusable",
    "secrets",
)
# Means nothing here: every task of an environment can be run by name.
_WITHOUT_MEANING = ("entrypoint", "max_inline_io_bytes", "docs")


@dataclass(frozen=True, slots=True)
class TaskOptions:
    """What ``@env.task(…)`` says. ``overrides`` are the names set by `Task.override`."""

    short_name: str = ""
    retries: RetryStrategy = NO_RETRIES
    timeout: Timeout = NO_TIMEOUT
    docs: str = ""
    resources: Resources | None = None
    env_vars: Mapping[str, str] = field(default_factory=dict)
    cache: CacheRequest | None = None
    fresh: bool = False
    secrets: tuple[Secret, ...] = ()
    unused: Unused = NOTHING_UNUSED
    overrides: frozenset[str] = frozenset()


def options_from(given: Mapping[str, Any]) -> TaskOptions:
    """Check the decorator's arguments. Raises `TypeError` and `ValueError`."""
    known = {"short_name", "cache", "retries", "timeout", "reusable"}
    for name in given:
        if name not in known and name not in _UNUSED and name not in _WITHOUT_MEANING:
            raise TypeError(f"`@env.task` has no option `{name}`")
    return TaskOptions(
        short_name=given.get("short_name") or "",
        retries=retries_of(given.get("retries")),
        timeout=timeout_of(given.get("timeout")),
        docs=str(given.get("docs") or ""),
        cache=given.get("cache"),
        unused=Unused({name: given.get(name) for name in _UNUSED}),
    )


class Task(Generic[P, R]):
    """A declared task. Called outside a run it is its function; in a run, a child run."""

    def __init__(
        self, function: Callable[P, R], environment: TaskEnvironment, options: TaskOptions
    ) -> None:
        if isinstance(function, Task):
            raise TypeError("a task cannot be declared as a task again")
        if not inspect.isfunction(function):
            raise TypeError(f"a task must be a function, not {function!r}")
        self.func = function
        self.environment = environment
        self.options = options
        self.name = names.task_name(environment.name, function.__name__)
        self.is_async = inspect.iscoroutinefunction(function)
        functools.update_wrapper(cast("Callable[..., Any]", self), function)

    @property
    def short_name(self) -> str:
        """What lists show; the function's name unless set."""
        return self.options.short_name or self.func.__name__

    @property
    def retries(self) -> RetryStrategy:
        """How often and when it is tried again."""
        return self.options.retries

    @property
    def timeout(self) -> Timeout:
        """Its limits."""
        return self.options.timeout

    @property
    def docs(self) -> str:
        """What it does: its docstring unless set."""
        return self.options.docs or inspect.getdoc(self.func) or ""

    @property
    def json_schema(self) -> dict[str, Any]:
        """JSON Schema of its inputs, as one object."""
        import json

        from callmesh.interface import interface_of

        interface = interface_of(self.func)
        return {
            "type": "object",
            "properties": {
                each.name: json.loads(each.schema or "{}") for each in interface.parameters
            },
            "required": [each.name for each in interface.parameters if each.required],
        }

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        attempt = _runtime.current()
        if attempt is None:
            return cast("R", self.func(*args, **kwargs))
        from callmesh import _children

        return cast("R", _children.call(self, args, kwargs))

    async def aio(self, *args: P.args, **kwargs: P.kwargs) -> Any:
        """The same, awaited, for sync and async functions: in a run, a child run."""
        if _runtime.current() is None:
            result: Any = self.func(*args, **kwargs)
            return await result if self.is_async else result
        from callmesh import _children

        return await _children.acall(self, args, kwargs)

    def forward(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function itself, in a run too."""
        return cast("R", self.func(*args, **kwargs))

    def override(
        self,
        *,
        short_name: str | None = None,
        resources: Resources | None = None,
        retries: int | RetryStrategy | None = None,
        timeout: Span | Timeout | None = None,
        cache: CacheRequest | None = None,
        env_vars: Mapping[str, str] | None = None,
        secrets: SecretRequest | None = None,
        reusable: object = None,
        **unused: object,
    ) -> Task[P, R]:
        """A copy of this task with changes, for calls of that copy.

        What is not named stays; ``secrets`` are given besides its environment's,
        ``timeout`` is in seconds, ``reusable="off"`` asks for a worker of its own.
        Raises `TypeError` for an option that does not exist.
        """
        for name in unused:
            if name not in (*_UNUSED, *_WITHOUT_MEANING):
                raise TypeError(f"`override` has no option `{name}`")
        given = {
            "short_name": short_name,
            "resources": resources,
            "retries": None if retries is None else retries_of(retries),
            "timeout": None if timeout is None else timeout_of(timeout),
            "cache": cache,
            "env_vars": env_vars,
            "secrets": None if secrets is None else secrets_of(secrets),
        }
        changes: dict[str, Any] = {
            name: value for name, value in given.items() if value is not None
        }
        others = {**self.options.unused.options, **unused}
        options = replace(
            self.options,
            **changes,
            fresh=self.options.fresh or reusable == "off",
            unused=Unused(others),
            overrides=self.options.overrides | changes.keys(),
        )
        copy: Task[P, R] = Task(self.func, self.environment, options)
        return copy

    def __get__(self, instance: object, owner: type | None = None) -> Task[P, R]:
        # A task is no method: as a class attribute it stays what it is.
        return self

    def __repr__(self) -> str:
        return f"<task `{self.name}`>"


TaskTemplate = Task
AsyncFunctionTaskTemplate = Task
