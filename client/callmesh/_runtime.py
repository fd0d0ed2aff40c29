"""Where this code runs: outside a run, or in an attempt of one.

`execute` says so for a worker's attempt (`enter_attempt`), `local` for a run in
this process. A worker executes one attempt at a time, so threads that user code
starts without a copy of the context still find it.
"""

from __future__ import annotations

import contextlib
import contextvars
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from callmeshpb.v1 import node_pb2

SOCKET_VARIABLE = "CALLMESH_WORKLOAD_SOCKET"
_NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class AttemptContext:
    """The attempt that runs this code.

    ``mode`` is "remote" in a worker and "local" in a script's own process.
    """

    run: str
    number: int
    task: str
    version: str = ""
    project: str = "default"
    domain: str = "development"
    idempotency_key: str = ""
    parent: str = ""
    group: str = ""
    traceparent: str = ""
    custom_context: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    mode: str = "remote"


current_attempt: contextvars.ContextVar[AttemptContext | None] = contextvars.ContextVar(
    "callmesh_attempt", default=None
)
current_group: contextvars.ContextVar[str] = contextvars.ContextVar("callmesh_group", default="")
current_custom: contextvars.ContextVar[Mapping[str, str] | None] = contextvars.ContextVar(
    "callmesh_custom_context", default=None
)
# The traced function that runs, or "".
current_step: contextvars.ContextVar[str] = contextvars.ContextVar("callmesh_step", default="")
_of_process: AttemptContext | None = None
# Of the attempt in this process, monotonic seconds.
_deadline: float | None = None


def current() -> AttemptContext | None:
    """The attempt that runs this code; None outside a run."""
    return current_attempt.get() or _of_process


def deadline() -> float | None:
    """When the attempt that runs this code is ended, monotonic seconds; None: never."""
    return _deadline if current() is not None else None


def enter_attempt(order: node_pb2.AttemptOrder) -> None:
    """Say that a worker's attempt runs, in this context and in the whole process."""
    global _of_process, _deadline
    limit = order.task.spec.timeouts.max_runtime.ToNanoseconds() / 1e9
    _deadline = time.monotonic() + limit if limit else None
    attempt = AttemptContext(
        run=order.run,
        number=order.number,
        task=order.task.spec.name,
        version=order.task.environment.version,
        project=order.project,
        domain=order.domain,
        idempotency_key=order.idempotency_key,
        parent=order.parent,
        group=order.group,
        traceparent=order.traceparent,
        custom_context=MappingProxyType(dict(order.custom_context)),
    )
    _of_process = attempt
    current_attempt.set(attempt)
    current_group.set("")
    current_custom.set(None)


@contextlib.contextmanager
def entered(attempt: AttemptContext) -> Iterator[None]:
    """Say that an attempt runs in this context, until the block ends."""
    token = current_attempt.set(attempt)
    try:
        yield
    finally:
        current_attempt.reset(token)


def custom_context() -> Mapping[str, str]:
    """The string map that travels to child runs."""
    changed = current_custom.get()
    if changed is not None:
        return changed
    attempt = current()
    return attempt.custom_context if attempt else _NOTHING


@contextlib.contextmanager
def added_context(values: Mapping[str, str]) -> Iterator[None]:
    """Add to the custom context, until the block ends."""
    token = current_custom.set({**custom_context(), **values})
    try:
        yield
    finally:
        current_custom.reset(token)


@contextlib.contextmanager
def added_variables(values: Mapping[str, str]) -> Iterator[None]:
    """Add to this process's environment variables, until the block ends."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def workload_socket() -> str:
    """The node agent's socket when this process is a workload, "" otherwise."""
    return os.environ.get(SOCKET_VARIABLE, "")
