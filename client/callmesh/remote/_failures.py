"""Why a run failed, as an exception: one table from the wire's types to classes."""

from __future__ import annotations

import contextlib

from callmesh.errors import (
    ActionAbortedError,
    DeadlineExceededError,
    MaxQueuedTimeExceededError,
    MaxRuntimeExceededError,
    OOMError,
    RuntimeSystemError,
    TaskFailedError,
)
from callmeshpb.v1 import common_pb2, scheduler_pb2

_CLASSES: dict[str, type[TaskFailedError]] = {
    "Aborted": ActionAbortedError,
    "DeadlineExceeded": DeadlineExceededError,
    "MaxQueuedTimeExceeded": MaxQueuedTimeExceededError,
    "MaxRuntimeExceeded": MaxRuntimeExceededError,
    "OutOfMemory": OOMError,
}
_BY_PHASE: dict[int, type[TaskFailedError]] = {
    scheduler_pb2.RUN_PHASE_ABORTED: ActionAbortedError,
    scheduler_pb2.RUN_PHASE_TIMED_OUT: MaxRuntimeExceededError,
}


def error_of(
    run: scheduler_pb2.Run, *, trusted: bool = False
) -> TaskFailedError | RuntimeSystemError:
    """The exception of a run that has ended without success.

    With ``trusted`` the remote exception itself, where it travelled, is the
    ``__cause__``.
    """
    failure = run.error
    message = failure.message or run.message
    if failure.kind == common_pb2.FAILURE_KIND_SYSTEM:
        return RuntimeSystemError(failure.type or "SystemError", f"run `{run.name}`: {message}")
    kind = _CLASSES.get(failure.type) or _BY_PHASE.get(run.phase, TaskFailedError)
    error = kind(failure.type or kind.__name__, message, failure.traceback, run.name)
    if trusted and failure.exception_pickle:
        error.__cause__ = _unpickled(failure.exception_pickle)
    return error


def _unpickled(data: bytes) -> BaseException | None:
    import pickle

    # A class that this process cannot import: type, message and traceback remain.
    with contextlib.suppress(Exception):
        found = pickle.loads(data)
        return found if isinstance(found, BaseException) else None
    return None
