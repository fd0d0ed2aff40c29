"""The errors that users catch.

CallmeshError (of the wire: what the mesh answers)
├── InvalidArgumentError, NotFoundError, AlreadyExistsError, PermissionDeniedError,
│   UnauthenticatedError, FailedPreconditionError, ConflictError, ExhaustedError,
│   DataLossError, UnimplementedError, UnavailableError, DeadlineError, InternalError
BaseRuntimeError (code, kind, worker)
├── InitializationError
├── RuntimeSystemError        the mesh lost the work
├── RuntimeUnknownError
└── RuntimeUserError          the user's code or input; `code` is the exception's class name
    ├── RemoteTaskNotFoundError, RemoteTaskUsageError, NotInTaskContextError,
    │   SyncTaskCallInAsyncContextError, TraceDoesNotAllowNestedTasksError
    ├── RuntimeDataValidationError ── InputsError, InlineIOMaxBytesBreached
    ├── DeploymentError, CodeBundleError, ModuleLoadError, ImageBuildError,
    │   InvalidImageNameError, InvalidPackageError, ParameterMaterializationError
    ├── TaskFailedError       a run failed remotely: `type`, `message`, `remote_traceback`
    ├── TaskTimeoutError ── MaxRuntimeExceededError, MaxQueuedTimeExceededError,
    │   DeadlineExceededError
    ├── ActionAbortedError, TaskInterruptedError, OOMError, RetriesExhaustedError,
    │   CustomError, NonRecoverableError
    └── RunAlreadyExistsError, RunNotFoundError, AppNotFoundError
ActionNotFoundError ── RunNotFoundError

What else Flyte has is in `_elsewhere`: for `except` clauses, never raised.
"""

from __future__ import annotations

from typing import Any, Literal, NoReturn

from callmesh_wire.errors import (
    AlreadyExistsError,
    CallmeshError,
    ConflictError,
    DataLossError,
    DeadlineError,
    ExhaustedError,
    FailedPreconditionError,
    InternalError,
    InvalidArgumentError,
    NotFoundError,
    PermissionDeniedError,
    UnauthenticatedError,
    UnavailableError,
    UnimplementedError,
)

ErrorKind = Literal["system", "user", "unknown"]


class BaseRuntimeError(RuntimeError):
    """What went wrong while something ran. ``str()`` is the sentence to show.

    ``code`` is a short name for programs, ``kind`` who failed ("user", "system",
    "unknown"), ``message`` the sentence, ``worker`` where it was, if known.
    """

    def __init__(
        self, code: str, kind: ErrorKind, root_cause_message: str, worker: str | None = None
    ) -> None:
        super().__init__(root_cause_message)
        self.code: Any = code
        self.kind = kind
        self.message = root_cause_message
        self.worker = worker

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.code, self.kind, self.message, self.worker)

    def _again(self, *_: object) -> NoReturn:
        """An error value that is computed with raises itself: ``sum(map(…))``."""
        raise self

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = _again
    __floordiv__ = __rfloordiv__ = _again
    __truediv__ = __rtruediv__ = __lt__ = __gt__ = __float__ = __int__ = _again


class InitializationError(BaseRuntimeError):
    """The client is not set up for what it was asked to do."""


class RuntimeSystemError(BaseRuntimeError):
    """The mesh failed, not the user's code."""

    def __init__(self, code: str, message: str, worker: str | None = None) -> None:
        super().__init__(code, "system", message, worker)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.code, self.message, self.worker)


class RuntimeUnknownError(BaseRuntimeError):
    """Nobody knows who failed."""

    def __init__(self, code: str, message: str, worker: str | None = None) -> None:
        super().__init__(code, "unknown", message, worker)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.code, self.message, self.worker)


class RuntimeUserError(BaseRuntimeError):
    """The user's code or input failed."""

    def __init__(self, code: str, message: str, worker: str | None = None) -> None:
        super().__init__(code, "user", message, worker)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.code, self.message, self.worker)


class _Named(RuntimeUserError):
    """A user error whose code is its own class name, made from a sentence."""

    def __init__(self, message: str = "", worker: str | None = None) -> None:
        super().__init__(type(self).__name__, message, worker)
        self.reason = getattr(self, "default_reason", "")
        self.metadata: dict[str, str] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.message, self.worker)


class NonRecoverableError(_Named):
    """Raised in a task: no further attempt is made."""


class CustomError(RuntimeUserError):
    """An error of the user's own kind."""

    @classmethod
    def from_exception(cls, error: BaseException) -> CustomError:
        """Wrap an exception; its class name becomes the code."""
        made = cls(type(error).__name__, str(error))
        made.__cause__ = error
        return made


class NotInTaskContextError(_Named):
    """This works in a task only."""


class RemoteTaskNotFoundError(_Named, NotFoundError):
    """No such task is deployed there."""


class ActionNotFoundError(RuntimeError):
    """No such action exists: a run is one."""


class RunNotFoundError(_Named, NotFoundError, ActionNotFoundError):
    """No such run exists."""


class AppNotFoundError(_Named, NotFoundError):
    """No such app is deployed there."""


class RunAlreadyExistsError(_Named, AlreadyExistsError):
    """A run of that name exists."""


class RemoteTaskUsageError(_Named):
    """A deployed task was used in a way that only works for a local one."""


class SyncTaskCallInAsyncContextError(_Named):
    """A sync task was called from async code in a run, where it would block the loop."""


class TraceDoesNotAllowNestedTasksError(_Named):
    """A traced function called a task."""


class RuntimeDataValidationError(_Named):
    """A value does not fit what is declared, or cannot be sent."""


class InputsError(RuntimeDataValidationError, TypeError, ValueError):
    """Arguments that do not fit a task; the message names all of them."""


class InlineIOMaxBytesBreached(RuntimeDataValidationError):
    """A value is over its limit."""


class DeploymentError(_Named):
    """A deploy failed, or what was deployed did not become ready."""


class CodeBundleError(DeploymentError):
    """The code cannot be packed."""


class ModuleLoadError(_Named):
    """The user's module cannot be imported."""


class ImageBuildError(DeploymentError):
    """The environment that an image asks for cannot be had."""


class InvalidImageNameError(_Named):
    """An image's name is malformed."""


class InvalidPackageError(ImageBuildError):
    """A requirement is malformed or not installed."""


class ParameterMaterializationError(DeploymentError):
    """An app's parameter has no value at deploy."""


class TaskFailedError(RuntimeUserError):
    """A run's user code raised. ``type``, ``message`` and ``remote_traceback`` say what."""

    def __init__(self, code: str, message: str, remote_traceback: str = "", run: str = "") -> None:
        super().__init__(code, message)
        self.type = code
        self.message = message
        self.remote_traceback = remote_traceback
        self.run = run

    def __str__(self) -> str:
        where = f"run `{self.run}` failed: " if self.run else ""
        text = f"{where}{self.type}: {self.message}" if self.message else f"{where}{self.type}"
        if not self.remote_traceback:
            return text
        return f"{text}\n\nremote traceback:\n{self.remote_traceback.rstrip()}"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.code, self.message, self.remote_traceback, self.run)


class TaskTimeoutError(TaskFailedError):
    """A run took too long."""


class MaxRuntimeExceededError(TaskTimeoutError):
    """An attempt ran longer than `max_runtime`."""


class MaxQueuedTimeExceededError(TaskTimeoutError):
    """A run waited longer than `max_queued_time`."""


class DeadlineExceededError(TaskTimeoutError):
    """A run, all attempts together, took longer than its `deadline`."""


class ActionAbortedError(TaskFailedError):
    """A run was aborted."""


class TaskInterruptedError(TaskFailedError):
    """A run was cut off."""


class OOMError(TaskFailedError):
    """A run was killed for want of memory."""


class RetriesExhaustedError(TaskFailedError):
    """Every attempt failed."""


_ELSEWHERE = (
    "AppleSiliconError",
    "ConditionFailedError",
    "ConditionTimedoutError",
    "GPUFaultError",
    "GPUFaultSystemError",
    "GPUFaultUserError",
    "ImagePullBackOffError",
    "LineageDeclarationError",
    "LogsNotYetAvailableError",
    "MaterializeError",
    "OnlyAsyncIOSupportedError",
    "PrimaryContainerNotFoundError",
    "ResourceExhaustedError",
    "SlowDownError",
    "UnionRpcError",
)


def __getattr__(name: str) -> Any:
    if name in _ELSEWHERE:
        from callmesh import _elsewhere

        return getattr(_elsewhere, name)
    raise AttributeError(f"module `{__name__}` has no attribute `{name}`")


__all__ = [
    "ActionAbortedError",
    "ActionNotFoundError",
    "AlreadyExistsError",
    "AppNotFoundError",
    "BaseRuntimeError",
    "CallmeshError",
    "CodeBundleError",
    "ConflictError",
    "CustomError",
    "DataLossError",
    "DeadlineError",
    "DeadlineExceededError",
    "DeploymentError",
    "ExhaustedError",
    "FailedPreconditionError",
    "ImageBuildError",
    "InitializationError",
    "InlineIOMaxBytesBreached",
    "InputsError",
    "InternalError",
    "InvalidArgumentError",
    "InvalidImageNameError",
    "InvalidPackageError",
    "MaxQueuedTimeExceededError",
    "MaxRuntimeExceededError",
    "ModuleLoadError",
    "NonRecoverableError",
    "NotFoundError",
    "NotInTaskContextError",
    "OOMError",
    "ParameterMaterializationError",
    "PermissionDeniedError",
    "RemoteTaskNotFoundError",
    "RemoteTaskUsageError",
    "RetriesExhaustedError",
    "RunAlreadyExistsError",
    "RunNotFoundError",
    "RuntimeDataValidationError",
    "RuntimeSystemError",
    "RuntimeUnknownError",
    "RuntimeUserError",
    "SyncTaskCallInAsyncContextError",
    "TaskFailedError",
    "TaskInterruptedError",
    "TaskTimeoutError",
    "TraceDoesNotAllowNestedTasksError",
    "UnauthenticatedError",
    "UnavailableError",
    "UnimplementedError",
]
