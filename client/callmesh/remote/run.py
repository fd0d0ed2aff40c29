"""A run of the mesh: wait for it, read what it returned, end it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from callmesh_wire.errors import DeadlineError, NotFoundError
from callmeshpb.v1 import common_pb2, log_pb2, scheduler_pb2
from google.protobuf.timestamp_pb2 import Timestamp

from callmesh import _blobs, _submit, values
from callmesh._plain import Mismatch
from callmesh._sync import aiterate, class_flow, class_method, iterate, method
from callmesh._transport import call, new_request_id, transport
from callmesh.errors import RunNotFoundError, RuntimeDataValidationError
from callmesh.remote import _failures, _watching
from callmesh.remote.app import scope_of
from callmesh.remote.phase import ActionPhase

PAGE = 100


class ActionOutputs(tuple[Any, ...]):
    """What a run returned, as a tuple: one value or several. Also ``.o0``, ``.o1``, …"""

    names: tuple[str, ...]

    def __new__(cls, outputs: Sequence[Any], names: Sequence[str] = ()) -> ActionOutputs:
        made = super().__new__(cls, outputs)
        made.names = tuple(names) or tuple(f"o{index}" for index in range(len(outputs)))
        return made

    @property
    def named_outputs(self) -> dict[str, Any]:
        """The outputs by name."""
        return dict(zip(self.names, self, strict=True))

    def __getattr__(self, name: str) -> Any:
        if name != "names" and name in self.names:
            return self[self.names.index(name)]
        if name.startswith("o") and name[1:].isdigit() and int(name[1:]) < len(self):
            return self[int(name[1:])]
        raise AttributeError(name)


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
        from callmesh._sync import bridge

        return await bridge().arun(outputs_of(self.pb2, self._function))

    async def inputs(self) -> dict[str, Any]:
        """Its arguments, as JSON gives them."""
        return {name: values.load_json(value) for name, value in self.pb2.inputs.items()}

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


class Run:
    """A handle: what is known of a run, refreshed by what waits for it."""

    def __init__(
        self,
        record: scheduler_pb2.Run,
        *,
        pending: _submit.Pending | None = None,
        function: Callable[..., object] | None = None,
    ) -> None:
        self._record = record
        self._pending = pending
        # Set for a run of a function of this process: its hints, and its trust.
        self._function = function

    @property
    def pb2(self) -> scheduler_pb2.Run:
        """The newest state that this process has heard of."""
        pending = self._pending.run if self._pending else None
        return pending if pending is not None else self._record

    @property
    def name(self) -> str:
        """Its name, unique in the mesh."""
        return self._record.name

    id = name

    @property
    def url(self) -> str:
        """Its page."""
        return self.pb2.url

    @property
    def project(self) -> str:
        """Its project."""
        return self._record.project

    @property
    def domain(self) -> str:
        """Its domain."""
        return self._record.domain

    @property
    def task_name(self) -> str:
        """The task's full name."""
        return self._record.task

    @property
    def phase(self) -> ActionPhase:
        """Where it is, as far as this process has heard: see `sync`."""
        return ActionPhase.of(self.pb2.phase)

    status = phase

    @property
    def raw_phase(self) -> scheduler_pb2.RunPhase:
        """The phase as it came."""
        return self.pb2.phase

    @property
    def action(self) -> ActionDetails:
        """The newest state that this process has heard of."""
        return ActionDetails(self.pb2, self._function)

    def done(self) -> bool:
        """It has ended, as far as this process has heard."""
        return self.phase.is_terminal

    @class_method
    @classmethod
    async def get(cls, name: str) -> Run:
        """The run of this name. Raises `errors.RunNotFoundError`."""
        return cls(await fetch(name))

    @class_flow
    @classmethod
    async def listall(
        cls,
        /,
        in_phase: Sequence[ActionPhase | str] | ActionPhase | str | None = None,
        task_name: str | None = None,
        *,
        limit: int = 100,
        project: str | None = None,
        domain: str | None = None,
        parent: str | None = None,
        **_filters: object,
    ) -> AsyncGenerator[Run, None]:
        """Runs, newest first, at most ``limit`` of them."""
        chosen = [in_phase] if isinstance(in_phase, str) else list(in_phase or ())
        token, left = "", limit
        while left > 0:
            answer = await call(
                scheduler_pb2.ListRunsResponse,
                "SchedulerService/ListRuns",
                scheduler_pb2.ListRunsRequest(
                    scope=scope_of(project, domain),
                    page_size=min(PAGE, left),
                    page_token=token,
                    task=task_name or "",
                    phases=[ActionPhase(each).wire for each in chosen],
                    parent=parent or "",
                ),
            )
            for record in answer.runs:
                yield cls(record)
            left -= len(answer.runs)
            token = answer.next_page_token
            if not token:
                return

    @method
    async def wait(
        self,
        quiet: bool = False,  # noqa: FBT001, FBT002 - Flyte's signature
        wait_for: Literal["terminal", "running"] = "terminal",
        timeout: float | None = None,
    ) -> None:
        """Wait for its end, or until it runs. A run that fails raises nothing here.

        A control plane that goes away is waited for; `DeadlineError` after
        ``timeout`` seconds.
        """
        del quiet
        try:
            async with asyncio.timeout(timeout):
                await self._until(wait_for)
        except TimeoutError:
            raise DeadlineError(
                f"run `{self.name}` has not ended within {timeout:g} s: it is {self.phase}"
            ) from None

    @method
    async def outputs(self) -> ActionOutputs:
        """What it returned, once it has ended. Raises why it failed."""
        await self._until("terminal")
        return await outputs_of(await self._whole(), self._function)

    @method
    async def result(self) -> Any:
        """What the function returned: a value, or a tuple. Raises why it failed."""
        await self._until("terminal")
        return await result_of(await self._whole(), self._function)

    @method
    async def inputs(self) -> dict[str, Any]:
        """Its arguments, as JSON gives them."""
        record = await fetch(self.name)
        return {name: values.load_json(value) for name, value in record.inputs.items()}

    @method
    async def details(self) -> RunDetails:
        """Everything about it, asked for now."""
        self._take(await fetch(self.name))
        return RunDetails(self.pb2, self._function)

    @method
    async def sync(self) -> Run:
        """Ask where it is, now."""
        self._take(await fetch(self.name))
        return self

    @method
    async def abort(self, reason: str = "") -> None:
        """End it and its children. Raises `FailedPreconditionError` for one that has ended."""
        request = scheduler_pb2.AbortRunRequest(
            request_id=new_request_id(), name=self.name, reason=reason
        )
        answer = await call(scheduler_pb2.AbortRunResponse, "SchedulerService/AbortRun", request)
        self._take(answer.run)

    def raise_for_status(self) -> None:
        """Raise why it failed, if it has."""
        if self.done() and self.phase is not ActionPhase.SUCCEEDED:
            raise _failures.error_of(self.pb2, trusted=self._function is not None)

    def watch(self, **_options: object) -> Updates:
        """Its states from now on, until it has ended."""
        return Updates(self._states)

    def stream(self) -> Updates:
        """The same: each has ``status`` and ``message``."""
        return self.watch()

    @method
    async def show_logs(self, /, max_lines: int = 30, **_options: object) -> str:
        """The last lines that it wrote, as text."""
        request = log_pb2.TailLogsRequest(
            scope=scope_of(self.project, self.domain), run=self.name, tail_lines=max_lines
        )
        lines: list[str] = []
        async for answer in transport().stream("LogService/TailLogs", request):
            lines += [line.text for line in getattr(answer, "lines", ())]
        return "\n".join(lines)

    async def _states(self) -> AsyncGenerator[ActionDetails, None]:
        if self._pending is not None:
            async for run in self._pending.changes():
                yield ActionDetails(run, self._function)
            return
        async for run in _watching.run_states(self.name, is_final):
            self._take(run)
            yield ActionDetails(run, self._function)

    async def _until(self, wait_for: str) -> None:
        def is_reached() -> bool:
            return self.done() or (wait_for == "running" and self.phase is ActionPhase.RUNNING)

        if is_reached():
            return
        if self._pending is not None and wait_for == "terminal":
            await self._pending.ended()
            return
        async for _ in self._states():
            if is_reached():
                return

    async def _whole(self) -> scheduler_pb2.Run:
        """The record with outputs: lists leave them out."""
        if self.phase is ActionPhase.SUCCEEDED and not self.pb2.outputs:
            self._take(await fetch(self.name))
        return self.pb2

    def _take(self, record: scheduler_pb2.Run) -> None:
        self._record = record
        if self._pending is not None and is_final(record):
            self._pending.update(record)
        elif self._pending is not None and self._pending.run is not None:
            self._pending.run = record

    def __repr__(self) -> str:
        return f"<run `{self.name}` of `{self.task_name}`: {self.phase}>"


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


async def result_of(
    record: scheduler_pb2.Run, function: Callable[..., object] | None = None
) -> Any:
    """What an ended run returned: a value or a tuple. Raises why it failed."""
    if record.phase != scheduler_pb2.RUN_PHASE_SUCCEEDED:
        raise _failures.error_of(record, trusted=function is not None)
    outputs = await _blobs.fetched(record.outputs)
    try:
        return values.decode_outputs(outputs, is_tuple=record.outputs_is_tuple, function=function)
    except Mismatch as problem:
        raise RuntimeDataValidationError(f"the result of run `{record.name}` {problem}") from None


async def outputs_of(
    record: scheduler_pb2.Run, function: Callable[..., object] | None = None
) -> ActionOutputs:
    """What an ended run returned, as a tuple. Raises why it failed."""
    result = await result_of(record, function)
    if not record.outputs_is_tuple:
        return ActionOutputs((result,))
    return ActionOutputs(result, getattr(result, "_fields", ()))


def _moment(record: scheduler_pb2.Run, name: str) -> datetime | None:
    if not record.HasField(name):
        return None
    stamp: Timestamp = getattr(record, name)
    return stamp.ToDatetime(tzinfo=UTC)
