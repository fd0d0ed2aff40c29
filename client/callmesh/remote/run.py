"""A run of the mesh: wait for it, read what it returned, end it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any, Literal

from callmesh import _submit
from callmesh._sync import class_flow, class_method, method
from callmesh._transport import call, new_request_id, transport
from callmesh.remote import _failures, _watching
from callmesh.remote._filters import TimeFilter, Wanted
from callmesh.remote.app import scope_of
from callmesh.remote.details import ActionDetails, RunDetails, Updates, fetch, is_final
from callmesh.remote.outputs import ActionOutputs, inputs_of, outputs_of, result_of
from callmesh.remote.phase import ActionPhase
from callmesh_wire.errors import DeadlineError, UnimplementedError
from callmeshpb.v1 import log_pb2, scheduler_pb2

PAGE = 100


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
        task_version: str | None = None,
        created_by_subject: str | None = None,
        created_at: TimeFilter | None = None,
        updated_at: TimeFilter | None = None,
        sort_by: tuple[str, Literal["asc", "desc"]] | None = None,
        **unknown: object,
    ) -> AsyncGenerator[Run, None]:
        """Runs, newest first, at most ``limit`` of them.

        Of one or several phases, of one task by full name, of the children of the
        run ``parent``; of this process's project and domain unless others are named.
        ``updated_at`` looks at a run's end, or at its start while it goes on.
        Raises `UnimplementedError` for another order, and for labels, which
        runs do not have.
        """
        if sort_by not in (None, ("created_at", "desc")):
            raise UnimplementedError(
                f"`sort_by` of runs must be ('created_at', 'desc'), not {sort_by!r}: sort the list"
            )
        for name in unknown:
            raise UnimplementedError(f"runs cannot be listed by `{name}`")
        wanted = Wanted(task_version, created_by_subject, created_at, updated_at)
        chosen = [in_phase] if isinstance(in_phase, str) else list(in_phase or ())
        token, left = "", limit
        while left > 0:
            answer = await call(
                scheduler_pb2.ListRunsResponse,
                "SchedulerService/ListRuns",
                scheduler_pb2.ListRunsRequest(
                    scope=scope_of(project, domain),
                    page_size=PAGE if wanted.narrows else min(PAGE, left),
                    page_token=token,
                    task=task_name or "",
                    phases=[ActionPhase(each).wire for each in chosen],
                    parent=parent or "",
                ),
            )
            for record in filter(wanted.has, answer.runs):
                yield cls(record)
                left -= 1
                if not left:
                    return
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
        """Its arguments, of Python's own types where the task's record says so."""
        return await inputs_of(await fetch(self.name))

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
