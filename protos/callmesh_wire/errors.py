"""Every error that crosses a process boundary, and its form on the wire.

CallmeshError
├── InvalidArgumentError    the request is wrong, whatever the mesh's state
├── NotFoundError           the object does not exist
├── AlreadyExistsError      the object to be made exists
├── PermissionDeniedError   the caller may not do this
├── UnauthenticatedError    the caller did not say who it is
├── FailedPreconditionError the object's state does not allow it
├── ConflictError           the object changed meanwhile: read it and try again
├── ExhaustedError          a limit was reached
├── DataLossError           bytes do not match their digest
├── UnimplementedError      this server does not do that (yet)
├── UnavailableError        the control plane cannot be reached, for now
├── DeadlineError           no answer within the caller's deadline
└── InternalError           a defect of ours

The numbers are google.rpc.Code's; ``reason`` and ``metadata`` travel as
google.rpc.ErrorInfo (AIP-193). This module imports no grpc, so that workloads
may use it: `callmesh_wire.status` speaks to grpc.
"""

from __future__ import annotations

from collections.abc import Mapping

from callmeshpb.v1 import workload_pb2

DOMAIN = "callmesh"


class CallmeshError(Exception):
    """Something that the user can act on. ``str()`` is the sentence to show."""

    code = 2
    default_reason = "UNKNOWN"

    def __init__(
        self, message: str, *, reason: str = "", metadata: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason or self.default_reason
        self.metadata = dict(metadata or {})


class InvalidArgumentError(CallmeshError):
    """The request is wrong, whatever the mesh's state."""

    code = 3
    default_reason = "INVALID_ARGUMENT"


class DeadlineError(CallmeshError):
    """No answer within the caller's own deadline."""

    code = 4
    default_reason = "DEADLINE_EXCEEDED"


class NotFoundError(CallmeshError):
    """The object does not exist."""

    code = 5
    default_reason = "NOT_FOUND"


class AlreadyExistsError(CallmeshError):
    """The object to be made exists."""

    code = 6
    default_reason = "ALREADY_EXISTS"


class PermissionDeniedError(CallmeshError):
    """The caller may not do this."""

    code = 7
    default_reason = "PERMISSION_DENIED"


class ExhaustedError(CallmeshError):
    """A limit was reached."""

    code = 8
    default_reason = "RESOURCE_EXHAUSTED"


class FailedPreconditionError(CallmeshError):
    """The object's state does not allow it."""

    code = 9
    default_reason = "FAILED_PRECONDITION"


class ConflictError(CallmeshError):
    """The object changed meanwhile: read it and try again."""

    code = 10
    default_reason = "CONFLICT"


class UnimplementedError(CallmeshError):
    """This server does not do that."""

    code = 12
    default_reason = "UNIMPLEMENTED"


class InternalError(CallmeshError):
    """A defect of ours."""

    code = 13
    default_reason = "INTERNAL"


class UnavailableError(CallmeshError):
    """The control plane cannot be reached, for now."""

    code = 14
    default_reason = "UNAVAILABLE"


class DataLossError(CallmeshError):
    """Bytes do not match their digest."""

    code = 15
    default_reason = "DATA_LOSS"


class UnauthenticatedError(CallmeshError):
    """The caller did not say who it is."""

    code = 16
    default_reason = "UNAUTHENTICATED"


BY_CODE: dict[int, type[CallmeshError]] = {
    kind.code: kind for kind in CallmeshError.__subclasses__()
}


def to_status(error: CallmeshError) -> workload_pb2.CallStatus:
    """The error as a message."""
    return workload_pb2.CallStatus(
        code=error.code, message=error.message, reason=error.reason, metadata=error.metadata
    )


def from_status(status: workload_pb2.CallStatus) -> CallmeshError:
    """The typed error of a message; an unknown code gives a plain `CallmeshError`."""
    kind = BY_CODE.get(status.code, CallmeshError)
    return kind(status.message, reason=status.reason, metadata=dict(status.metadata))
