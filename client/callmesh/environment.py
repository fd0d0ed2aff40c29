"""Environments: what is declared together and deployed together.

A declaration does no I/O. `plan` turns it into request messages.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from callmesh.image import Image, image_of
from callmesh.policy import CacheRequest, RetryStrategy, Span, Timeout, Unused
from callmesh.resources import Resources
from callmesh.secret import Secret, SecretRequest, secrets_of
from callmesh_wire import names

if TYPE_CHECKING:
    from types import FrameType

    from callmesh.task import Task

P = ParamSpec("P")
R = TypeVar("R")

MAX_DESCRIPTION = 255
_registry: list[Environment] = []


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an environment was written down: its module's name and file."""

    module: str
    file: str


@dataclass(eq=False, kw_only=True)
class Environment:
    """What tasks and apps have in common.

    ``name`` may be given as the first positional argument. ``depends_on`` are
    environments that are deployed with this one; ``include`` are files, folders
    and glob patterns, relative to the declaring file, that travel with the
    code. Raises `TypeError` and `ValueError` for what is malformed.
    """

    name: str = field(kw_only=False)
    depends_on: Sequence[Environment] = ()
    pod_template: object = None
    description: str | None = None
    secrets: SecretRequest | None = None
    env_vars: Mapping[str, str] | None = None
    resources: Resources | None = None
    interruptible: bool = False
    image: Image | str | None = "auto"
    include: Sequence[str | Path] = ()
    service_account: str | None = None
    origin: Origin = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._check_name()
        self.depends_on = list(self.depends_on)
        for each in self.depends_on:
            self._check_dependency(each)
        if self.description is not None and len(self.description) > MAX_DESCRIPTION:
            raise ValueError(
                f"`description` of `{self.name}` has {len(self.description)} characters: "
                f"must be at most {MAX_DESCRIPTION}"
            )
        if self.resources is not None and not isinstance(self.resources, Resources):
            raise TypeError(f"`resources` of `{self.name}` must be `Resources`")
        for key, value in (self.env_vars or {}).items():
            if not isinstance(key, str) or not isinstance(value, str):
                raise TypeError(f"`env_vars` of `{self.name}` must map strings to strings: {key!r}")
        _ = self.secret_requests, self.resolved_image
        self.origin = _origin()
        _registry.append(self)

    @property
    def secret_requests(self) -> tuple[Secret, ...]:
        """The secrets that were asked for, however that was spelled."""
        return secrets_of(self.secrets)

    @property
    def resolved_image(self) -> Image:
        """The image that was asked for, however that was spelled."""
        return image_of(self.image)

    @property
    def unused(self) -> Unused:
        """Options that the mesh does not act on yet."""
        return Unused(
            {
                "pod_template": self.pod_template,
                "interruptible": self.interruptible,
                "service_account": self.service_account,
            }
        )

    def add_dependency(self, *environments: Environment) -> None:
        """Add to ``depends_on``; what is there already is left alone."""
        for each in environments:
            self._check_dependency(each)
            if not any(each is known for known in self.depends_on):
                self.depends_on = [*self.depends_on, each]

    def clone_with(self, name: str, **changes: Any) -> Any:
        """A copy under another name, with changes."""
        clone = copy.copy(self)
        for key, value in {"name": name, **changes}.items():
            if not hasattr(self, key):
                raise TypeError(f"`{type(self).__name__}` has no `{key}` to change")
            setattr(clone, key, value)
        clone.__post_init__()
        return clone

    def _check_name(self) -> None:
        if not isinstance(self.name, str):
            raise TypeError(f"`name` must be a string, not {self.name!r}")
        names.check_environment(self.name)

    def _check_dependency(self, other: object) -> None:
        if not isinstance(other, Environment):
            raise TypeError(f"`depends_on` of `{self.name}` must be environments, not {other!r}")
        if other is self:
            raise ValueError(f"Cannot add self: `{self.name}` cannot depend on itself")


@dataclass(eq=False, kw_only=True)
class TaskEnvironment(Environment):
    """An environment of tasks. `task` decorates their functions."""

    cache: CacheRequest = "disable"
    reusable: object = None
    plugin_config: object = None
    queue: str | None = None
    tasks: dict[str, Task[..., Any]] = field(default_factory=dict, init=False, repr=False)
    _declared_in: dict[Origin, None] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.tasks, self._declared_in = {}, {}

    @property
    def origins(self) -> tuple[Origin, ...]:
        """Where the environment is made, and then the other modules that declare its tasks."""
        return (self.origin, *(each for each in self._declared_in if each != self.origin))

    @property
    def unused(self) -> Unused:
        """Options that the mesh does not act on yet."""
        own = {"plugin_config": self.plugin_config}
        return Unused({**super().unused.options, **own, "queue": self.queue})

    @overload
    def task(self, function: Callable[P, R], /) -> Task[P, R]: ...
    @overload
    def task(
        self,
        /,
        *,
        short_name: str | None = None,
        cache: CacheRequest | None = None,
        retries: int | RetryStrategy = 0,
        timeout: Span | Timeout = 0,
        docs: object = None,
        pod_template: object = None,
        report: bool = False,
        interruptible: bool | None = None,
        max_inline_io_bytes: int | None = None,
        queue: str | None = None,
        service_account: str | None = None,
        triggers: object = (),
        links: object = (),
        task_resolver: object = None,
        entrypoint: bool = False,
        produces_artifacts: bool = False,
    ) -> Callable[[Callable[P, R]], Task[P, R]]: ...
    def task(self, function: Any = None, /, **options: Any) -> Any:
        """Declare a function as a task: ``@env.task`` or ``@env.task(retries=3)``.

        Outside a run the task is called like the function. Inside a run a call
        makes a child run. ``retries`` are attempts after the first, ``timeout``
        is `max_runtime` of one attempt in seconds, ``docs`` stands in for the
        docstring. Raises `ValueError` where the environment has a task of that
        name, `TypeError` for an option that does not exist.
        """
        from callmesh.task import Task, options_from

        made = options_from(options)

        def declare(function: Callable[..., Any]) -> Task[..., Any]:
            task = Task(function, self, made)
            known = self.tasks.get(task.name)
            if known is not None and not _is_same_source(known.func, function):
                raise ValueError(f"task `{task.name}` is declared twice: rename one function")
            self.tasks[task.name] = task
            self._declared_in[_importing()] = None
            return task

        return declare if function is None else declare(function)

    @classmethod
    def from_task(
        cls, name: str, *tasks: Task[..., Any], depends_on: Sequence[Environment] | None = None
    ) -> TaskEnvironment:
        """An environment of tasks that others declared; image and needs are the first one's."""
        if not tasks:
            raise ValueError(f"environment `{name}` must be made of at least one task")
        first = tasks[0].environment
        made = cls(name, depends_on=depends_on or (), image=first.image, resources=first.resources)
        for each in tasks:
            made.task(each.func)
        return made


def environments() -> tuple[Environment, ...]:
    """Every environment made in this process, in order."""
    return tuple(_registry)


def _is_same_source(one: Callable[..., Any], other: Callable[..., Any]) -> bool:
    """They are one definition, executed twice (a module that was loaded again)."""
    first, second = getattr(one, "__code__", None), getattr(other, "__code__", None)
    return (
        first is not None
        and second is not None
        and (first.co_filename, first.co_firstlineno) == (second.co_filename, second.co_firstlineno)
    )


def _importing() -> Origin:
    """The module whose import is going on, or else the caller."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_name != "<module>":
        frame = frame.f_back
    return _origin() if frame is None else _origin_of(frame)


def _origin() -> Origin:
    frame = sys._getframe(1)
    while frame.f_back is not None:
        name = frame.f_globals.get("__name__", "")
        if name != "callmesh" and not name.startswith("callmesh."):
            break
        frame = frame.f_back
    return _origin_of(frame)


def _origin_of(frame: FrameType) -> Origin:
    module = frame.f_globals
    return Origin(str(module.get("__name__", "")), str(module.get("__file__") or ""))
