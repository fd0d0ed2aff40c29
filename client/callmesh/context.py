"""What code may ask about where it runs: `ctx`, `group`, `custom_context`."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from callmesh import _runtime


@dataclass(frozen=True, slots=True)
class ActionID:
    """The run that executes this code."""

    name: str | None = None
    run_name: str | None = None
    project: str | None = None
    domain: str | None = None
    org: str | None = None


@dataclass(frozen=True, slots=True)
class TaskContext:
    """The context of a task's attempt. Outside a run it is false, and all is None.

    ``action`` names the run, its project and domain; ``version`` and ``task``
    what is run; ``mode`` is "remote" or "local"; ``attempt_number`` counts from
    1, ``group_data`` is the `group` that it was made in. ``idempotency_key`` is
    the same in every attempt of a run. Paths and checkpoints stay None.
    """

    action: ActionID = ActionID()
    version: str | None = None
    mode: str | None = None
    attempt_number: int | None = None
    idempotency_key: str | None = None
    task: str | None = None
    group_data: str | None = None
    custom_context: Mapping[str, str] = field(default_factory=dict)
    raw_data_path: str | None = None
    input_path: str | None = None
    output_path: str | None = None
    run_base_dir: str | None = None
    run_start_time: object = None
    checkpoint: object = None
    code_bundle: object = None
    data: Mapping[str, Any] = field(default_factory=dict)
    traceparent: str | None = None

    def __bool__(self) -> bool:
        return self.action.run_name is not None

    @property
    def run_name(self) -> str | None:
        """The run's name."""
        return self.action.run_name

    def is_in_cluster(self) -> bool:
        """The code runs on the mesh, not in a script's own process."""
        return self.mode == "remote"


def ctx() -> TaskContext:
    """The context of the attempt that runs this code; false outside a run."""
    attempt = _runtime.current()
    if attempt is None:
        return TaskContext()
    return TaskContext(
        action=ActionID(attempt.run, attempt.run, attempt.project, attempt.domain),
        version=attempt.version,
        mode=attempt.mode,
        attempt_number=attempt.number,
        idempotency_key=attempt.idempotency_key,
        task=attempt.task,
        group_data=_runtime.current_group.get() or None,
        custom_context=_runtime.custom_context(),
        traceparent=attempt.traceparent or None,
    )


@contextlib.contextmanager
def group(name: str) -> Iterator[None]:
    """Child runs that are made inside belong to a group of this name."""
    token = _runtime.current_group.set(name)
    try:
        yield
    finally:
        _runtime.current_group.reset(token)


@contextlib.contextmanager
def custom_context(**values: str) -> Iterator[None]:
    """Add to the string map that travels to every run that is made inside."""
    for key, value in values.items():
        if not isinstance(value, str):
            raise TypeError(f"a custom context maps names to strings: `{key}` is {value!r}")
    with _runtime.added_context(values):
        yield


def get_custom_context() -> Mapping[str, str]:
    """The string map that came with this run, and what was added since."""
    return dict(_runtime.custom_context())


def current_project() -> str:
    """The project that names without one belong to."""
    attempt = _runtime.current()
    return attempt.project if attempt else _settings("project")


def current_domain() -> str:
    """The domain that names without one belong to."""
    attempt = _runtime.current()
    return attempt.domain if attempt else _settings("domain")


def _settings(name: str) -> str:
    from callmesh import settings

    return str(getattr(settings.current(), name))


def is_workload() -> bool:
    """This process is an app instance or a task worker."""
    return bool(os.environ.get(_runtime.SOCKET_VARIABLE))
