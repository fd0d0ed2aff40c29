"""The tree that users catch: it travels, and it maps what the mesh says."""

from __future__ import annotations

import pickle

import pytest

from callmesh import errors
from callmesh.remote._failures import error_of
from callmesh_wire import errors as wire
from callmeshpb.v1 import common_pb2, scheduler_pb2


@pytest.mark.parametrize(
    "error",
    [
        errors.InitializationError("Code", "user", "text"),
        errors.RuntimeUserError("ValueError", "text"),
        errors.RuntimeSystemError("WorkerLost", "text"),
        errors.NonRecoverableError("text"),
        errors.RemoteTaskNotFoundError("text"),
        errors.InputsError("text"),
        errors.TaskFailedError("ValueError", "text", "trace", "run-1"),
    ],
)
def test_an_error_survives_a_pickle(error: errors.BaseRuntimeError) -> None:
    back = pickle.loads(pickle.dumps(error))
    assert (type(back), str(back), back.code, back.kind) == (
        type(error),
        str(error),
        error.code,
        error.kind,
    )


def test_what_does_not_exist_is_not_found_everywhere() -> None:
    for kind in (
        errors.RemoteTaskNotFoundError,
        errors.AppNotFoundError,
        errors.RunNotFoundError,
    ):
        error = kind("gone")
        assert isinstance(error, wire.NotFoundError)
        assert isinstance(error, errors.RuntimeUserError)
        assert (error.message, error.reason, error.metadata) == ("gone", "NOT_FOUND", {})


def test_an_error_value_that_is_computed_with_raises_itself() -> None:
    error = errors.TaskFailedError("ValueError", "bad")
    for compute in (lambda: sum([1, error]), lambda: error * 2, lambda: error < 1):
        with pytest.raises(errors.TaskFailedError):
            compute()


@pytest.mark.parametrize(
    ("failure", "phase", "kind"),
    [
        ("ValueError", "FAILED", errors.TaskFailedError),
        ("MaxRuntimeExceeded", "TIMED_OUT", errors.MaxRuntimeExceededError),
        ("MaxQueuedTimeExceeded", "TIMED_OUT", errors.MaxQueuedTimeExceededError),
        ("DeadlineExceeded", "TIMED_OUT", errors.DeadlineExceededError),
        ("Aborted", "ABORTED", errors.ActionAbortedError),
        ("", "ABORTED", errors.ActionAbortedError),
    ],
)
def test_a_failure_becomes_the_class_of_its_type(failure: str, phase: str, kind: type) -> None:
    run = scheduler_pb2.Run(name="r", phase=f"RUN_PHASE_{phase}", message="why")
    run.error.type = failure
    error = error_of(run)
    assert type(error) is kind
    assert isinstance(error, errors.RuntimeUserError)
    assert "why" in str(error)


def test_a_failure_carries_the_remote_exception_for_who_may_open_it() -> None:
    failure = common_pb2.Failure(
        type="KeyError",
        message="'x'",
        traceback="Traceback: there",
        exception_pickle=pickle.dumps(KeyError("x")),
    )
    run = scheduler_pb2.Run(name="r", phase=scheduler_pb2.RUN_PHASE_FAILED, error=failure)
    stranger, own = error_of(run), error_of(run, trusted=True)
    assert stranger.__cause__ is None
    assert isinstance(own.__cause__, KeyError)
    assert "run `r` failed: KeyError: 'x'" in str(own)
    assert "Traceback: there" in str(own)
    run.error.exception_pickle = b"garbage"
    assert error_of(run, trusted=True).__cause__ is None


def test_what_the_mesh_lost_is_a_system_error() -> None:
    failure = common_pb2.Failure(type="WorkerLost", kind=common_pb2.FAILURE_KIND_SYSTEM)
    run = scheduler_pb2.Run(name="r", phase=scheduler_pb2.RUN_PHASE_FAILED, error=failure)
    assert isinstance(error_of(run), errors.RuntimeSystemError)
