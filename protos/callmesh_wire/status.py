"""Errors as gRPC carries them: a status and google.rpc.ErrorInfo."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import grpc
from google.rpc import error_details_pb2, status_pb2

from callmesh_wire import errors

DETAILS_KEY = "grpc-status-details-bin"
_CODES = {code.value[0]: code for code in grpc.StatusCode}


def grpc_code(error: errors.CallmeshError) -> grpc.StatusCode:
    """The error's gRPC status code."""
    return _CODES.get(error.code, grpc.StatusCode.UNKNOWN)


def details(error: errors.CallmeshError) -> bytes:
    """The value of the `DETAILS_KEY` trailer."""
    status = status_pb2.Status(code=error.code, message=error.message)
    info = error_details_pb2.ErrorInfo(
        reason=error.reason, domain=errors.DOMAIN, metadata=error.metadata
    )
    status.details.add().Pack(info)
    return bytes(status.SerializeToString())


def is_typed(problem: grpc.RpcError) -> bool:
    """Whether the failed call was answered by callmesh, and not by a proxy or by gRPC itself."""
    trailers: Iterable[Any] = problem.trailing_metadata() or ()
    return any(key == DETAILS_KEY for key, _ in trailers)


def from_rpc(problem: grpc.RpcError) -> errors.CallmeshError:
    """The typed error of a failed call.

    A status without our ErrorInfo (a proxy's, or gRPC's own) is mapped by its
    code alone.
    """
    code = problem.code()
    kind = errors.BY_CODE.get(code.value[0], errors.CallmeshError)
    info = error_details_pb2.ErrorInfo()
    trailers: Iterable[Any] = problem.trailing_metadata() or ()
    for key, value in trailers:
        if key == DETAILS_KEY:
            for packed in status_pb2.Status.FromString(value).details:
                packed.Unpack(info)
    return kind(problem.details() or code.name, reason=info.reason, metadata=dict(info.metadata))
