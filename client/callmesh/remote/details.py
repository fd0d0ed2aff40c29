"""One state of a run: what it is, where it is, why it failed."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from callmesh import _submit
from callmesh._sync import aiterate, bridge, class_method, iterate
from callmesh._transport import call
from callmesh.errors import RunNotFoundError
from callmesh.remote.outputs import ActionOutputs, inputs_of, outputs_of
from callmesh.remote.phase import ActionPhase
from callmesh_wire.errors import NotFoundError
from callmeshpb.v1 import common_pb2, scheduler_pb2


class ActionDetails:
    """One state of a run."""

    def __init__(
        self, record: scheduler_pb2.Run, function: Callable[..., object] | None = None
    ) -> None:
        self.pb2 = record
        self._function = function

    @property
    def name(self) -> str:
        """The run's name."""
        return self.pb2.name

    run_name = name

    @property
    def task_name(self) -> str:
        """The task's full name."""
        return self.pb2.task

    @property
    def phase(self) -> ActionPhase:
        """Where the run is."""
        return ActionPhase.of(self.pb2.phase)

    status = phase

    @property
    def raw_phase(self) -> scheduler_pb2.RunPhase:
        """The phase as it came."""
        return self.pb2.phase

    @property
    def message(self) -> str:
        """Why it waits, or why it ended as it did."""
        return self.pb2.message or self.pb2.error.message

    @property
    def cached_from(self) -> str:
        """The run whose result this is, where it did not execute itself; else ""."""
        return self.pb2.cached_from

    @property
    def attempts(self) -> int:
        """How often it was started."""
        return len(self.pb2.attempts)

    @property
    def error_info(self) -> common_pb2.Failure | None:
        """Why it failed, or None."""
        return self.pb2.error if self.pb2.HasField("error") else None

    @property
    def error_message(self) -> str:
        """The failure's message, or ""."""
        return self.pb2.error.message

    @property
    def abort_info(self) -> common_pb2.Failure | None:
        """The failure of a run that was aborted, or None."""
        return self.error_info if self.phase is ActionPhase.ABORTED else None

    @property
    def created_at(self) -> datetime | None:
        """When it was submitted."""
        return _moment(self.pb2, "created_at")

    @property
    def started_at(self) -> datetime | None:
        """When user code first started."""
        return _moment(self.pb2, "started_at")

    @property
    def ended_at(self) -> datetime | None:
        """When it ended."""
        return _moment(self.pb2, "ended_at")

    @property
    def runtime(self) -> timedelta:
        """From the first start until its end, or until now."""
        if self.started_at is None:
            return timedelta(0)
        return (self.ended_at or datetime.now(UTC)) - self.started_at

    def done(self) -> bool:
        """It has ended."""
        return self.phase.is_terminal

    async def outputs(self) -> ActionOutputs:
        """What it returned. Raises why it failed, and `RuntimeError` while it runs."""
        if not self.done():
            raise RuntimeError(f"run `{self.name}` has not ended: it is {self.phase}")
        return await bridge().arun(outputs_of(self.pb2, self._function))

    async def inputs(self) -> dict[str, Any]:
        """Its arguments, of Python's own types where the task's record says so."""
        return await bridge().arun(inputs_of(self.pb2))

    def __repr__(self) -> str:
        return f"<run `{self.name}`: {self.phase}>"


class RunDetails(ActionDetails):
    """A run with its inputs, asked for once."""

    @class_method
    @classmethod
    async def get(cls, name: str) -> RunDetails:
        """The details of a run. Raises `errors.RunNotFoundError`."""
        return cls(await fetch(name))

    @property
    def action_details(self) -> ActionDetails:
        """The same."""
        return self


class Updates:
    """The states of a run, one after another: for ``async for`` and for ``for``."""

    def __init__(self, states: Callable[[], AsyncGenerator[ActionDetails, None]]) -> None:
        self._states = states

    def __aiter__(self) -> AsyncIterator[ActionDetails]:
        return aiterate(self._states())

    def __iter__(self) -> Iterator[ActionDetails]:
        return iterate(self._states())


Action = ActionDetails


def is_final(record: scheduler_pb2.Run) -> bool:
    """The run has ended."""
    return record.phase in _submit.FINAL


async def fetch(name: str) -> scheduler_pb2.Run:
    """A run's record. Raises `errors.RunNotFoundError`."""
    request = scheduler_pb2.GetRunRequest(name=name)
    try:
        answer = await call(scheduler_pb2.GetRunResponse, "SchedulerService/GetRun", request)
    except NotFoundError:
        raise RunNotFoundError(
            f"there is no run `{name}`: list what there is with `callmesh get runs`"
        ) from None
    return answer.run


def _moment(record: scheduler_pb2.Run, name: str) -> datetime | None:
    if not record.HasField(name):
        return None
    stamp: Timestamp = getattr(record, name)
    return stamp.ToDatetime(tzinfo=UTC)
