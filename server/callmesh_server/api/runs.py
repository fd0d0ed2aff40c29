"""Runs: begun, read, watched, aborted and listed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from typing import TYPE_CHECKING

from callmesh_server.api import paging
from callmesh_server.api.caller import Caller
from callmesh_server.api.idempotency import Requests
from callmesh_server.api.pump import Spawn
from callmesh_server.api.submissions import Submissions
from callmesh_server.api.submit import SubmitStream
from callmesh_server.api.validate import MAX_TEXT, Problems, scope_of
from callmesh_server.apply import Applier
from callmesh_server.changes import RunChanged
from callmesh_server.core import runs
from callmesh_server.core.actions import PutRun
from callmesh_server.core.attempts import has_ended
from callmesh_server.live import Live
from callmesh_server.store.rows import RunFilter
from callmesh_wire.errors import (
    AlreadyExistsError,
    CallmeshError,
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
)
from callmesh_wire.names import NameProblem, check_run
from callmeshpb.v1 import scheduler_pb2

if TYPE_CHECKING:
    from callmesh_server.store.database import Database

_BATCH = 200


class RunApi:
    """The run methods of SchedulerService."""

    def __init__(
        self,
        live: Live,
        database: Database,
        applier: Applier,
        requests: Requests,
        submissions: Submissions,
        spawn: Spawn,
    ) -> None:
        self._live = live
        self._database = database
        self._applier = applier
        self._requests = requests
        self._submissions = submissions
        self._spawn = spawn

    async def run_task(
        self, request: scheduler_pb2.RunTaskRequest, caller: Caller
    ) -> scheduler_pb2.RunTaskResponse:
        """Record one run and answer with it."""
        submission = request.submission
        if caller.run and not submission.parent:
            submission = scheduler_pb2.Submission()
            submission.CopyFrom(request.submission)
            submission.parent = caller.run
        recorded: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def done(error: CallmeshError | None) -> None:
            if recorded.done():
                return
            if error is None:
                recorded.set_result(None)
            else:
                recorded.set_exception(error)

        begun = await self._submissions.begin(submission, caller, done)
        name = begun.run
        try:
            await recorded
        except AlreadyExistsError:
            name = await self._submissions.existing(submission)
        return scheduler_pb2.RunTaskResponse(run=await self._whole(name))

    def submit(
        self, requests: AsyncIterator[scheduler_pb2.SubmitRequest], caller: Caller
    ) -> AsyncGenerator[scheduler_pb2.SubmitResponse]:
        """The standing stream of a caller with many runs."""
        return SubmitStream(self._live, self._submissions, caller).serve(requests, self._spawn)

    async def get_run(
        self, request: scheduler_pb2.GetRunRequest, _caller: Caller
    ) -> scheduler_pb2.GetRunResponse:
        """One run, whole."""
        return scheduler_pb2.GetRunResponse(run=await self._whole(request.name))

    async def watch_run(
        self, request: scheduler_pb2.WatchRunRequest, _caller: Caller
    ) -> AsyncIterator[scheduler_pb2.WatchRunResponse]:
        """The whole run, now and at every change; ends with its end."""
        seen = None
        with self._live.changes.watch(RunChanged(request.name)) as changed:
            while True:
                changed.clear()
                run = await self._whole(request.name)
                if run != seen:
                    seen = run
                    yield scheduler_pb2.WatchRunResponse(run=run)
                if has_ended(run):
                    return
                await changed.wait()

    async def abort_run(
        self, request: scheduler_pb2.AbortRunRequest, _caller: Caller
    ) -> scheduler_pb2.AbortRunResponse:
        """End a run and its children."""
        if len(request.reason) > MAX_TEXT:
            raise InvalidArgumentError(f"`reason` must have at most {MAX_TEXT:,} characters")

        async def change() -> scheduler_pb2.AbortRunResponse:
            run = await self._whole(request.name)
            world = self._live.world
            if has_ended(run) or request.name not in world.runs:
                phase = scheduler_pb2.RunPhase.Name(run.phase).removeprefix("RUN_PHASE_")
                raise FailedPreconditionError(
                    f"run `{request.name}` has ended as {phase.lower()}: "
                    "only one that has not can be aborted"
                )
            actions = runs.abort(world, request.name, request.reason, time.time())
            self._applier.perform(actions)
            ended = next(
                each.run
                for each in actions
                if isinstance(each, PutRun) and each.run.name == request.name
            )
            return scheduler_pb2.AbortRunResponse(run=ended)

        return await self._requests.once(
            request.request_id, "AbortRun", scheduler_pb2.AbortRunResponse, change
        )

    async def list_runs(
        self, request: scheduler_pb2.ListRunsRequest, _caller: Caller
    ) -> scheduler_pb2.ListRunsResponse:
        """Newest first, without inputs and outputs."""
        size = paging.page_size(request.page_size)
        token = paging.decode_token(request.page_token)
        if token and not token.isdigit():
            raise InvalidArgumentError("`page_token` is not one that this server gave")
        before = int(token) if token else 0
        wanted = RunFilter(
            scope=None if request.all_scopes else scope_of(request.scope),
            task=request.task,
            parent=request.parent,
            phases=frozenset(request.phases),
        )
        found: list[scheduler_pb2.Run] = []
        while True:
            rows = await self._database.runs(wanted, before, _BATCH)
            for row in rows:
                run = self._as_listed(row.run)
                if wanted.phases and run.phase not in wanted.phases:
                    continue
                if run.step and not wanted.parent:
                    continue
                if len(found) == size:
                    return scheduler_pb2.ListRunsResponse(
                        runs=found, next_page_token=paging.encode_token(str(before))
                    )
                found.append(run)
                before = row.number
            if len(rows) < _BATCH:
                return scheduler_pb2.ListRunsResponse(runs=found)
            before = rows[-1].number

    def _as_listed(self, stored: scheduler_pb2.Run) -> scheduler_pb2.Run:
        """The run as memory has it, where it has not ended."""
        run = self._live.shown(stored.name)
        if run is None:
            return stored
        bare = scheduler_pb2.Run()
        bare.CopyFrom(run)
        bare.ClearField("outputs")
        bare.message = runs.why_waiting(self._live.world, run)
        return bare

    async def _whole(self, name: str) -> scheduler_pb2.Run:
        problems = Problems()
        try:
            check_run(name)
        except NameProblem as problem:
            problems.add(str(problem))
        problems.raise_if_any()
        run = await self._live.whole_run(name)
        if run is None:
            raise NotFoundError(
                f"there is no run `{name}`: `callmesh get runs` lists what there is"
            )
        if not has_ended(run):
            run.message = runs.why_waiting(self._live.world, run)
        return run
