"""The Submit stream of one caller: submissions in, what becomes of them out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import ExitStack
from dataclasses import dataclass

from callmesh_server.api.caller import Caller
from callmesh_server.api.pump import Pump, Spawn
from callmesh_server.api.submissions import Submissions
from callmesh_server.changes import RunChanged
from callmesh_server.core.attempts import has_ended
from callmesh_server.live import Live
from callmesh_wire.errors import (
    AlreadyExistsError,
    CallmeshError,
    ExhaustedError,
    InvalidArgumentError,
)
from callmeshpb.v1 import scheduler_pb2

# Runs of one stream that have not ended.
MAX_FOLLOWED = 100_000
# Updates of one message, so that it stays far under a message's limit.
MAX_UPDATES = 500
# Submissions that are begun before others get their turn.
TURN = 50
MAX_BYTES = 8 * 1024 * 1024


@dataclass(slots=True)
class _Followed:
    """A run that the caller hears of."""

    # Of the submissions that it answers; the same run may have been asked for twice.
    request_ids: list[str]
    end: Callable[[], None]
    phase: int = scheduler_pb2.RUN_PHASE_UNSPECIFIED


class SubmitStream:
    """One stream's state; `serve` it once."""

    def __init__(self, live: Live, submissions: Submissions, caller: Caller) -> None:
        self._live = live
        self._submissions = submissions
        # The stream outlives the run that opened it: whose child a submission
        # is stands in the submission.
        self._caller = caller
        self._wanted = asyncio.Event()
        self._followed: dict[str, _Followed] = {}
        # Runs to tell of, in the order of their changes.
        self._changed: dict[str, None] = {}
        self._refused: list[tuple[str, CallmeshError]] = []
        # Submissions that the disk knew already.
        self._repeated: list[scheduler_pb2.Submission] = []
        # Submissions that are not recorded yet.
        self._recording = 0
        self._closed = False

    async def serve(
        self, requests: AsyncIterator[scheduler_pb2.SubmitRequest], spawn: Spawn
    ) -> AsyncGenerator[scheduler_pb2.SubmitResponse]:
        """Answer until the caller has no more submissions and every run has ended."""
        pump = Pump(spawn, requests, self._take, self._wanted)
        with ExitStack() as stack:
            stack.callback(pump.stop)
            stack.callback(self._close)
            while True:
                await self._wanted.wait()
                self._wanted.clear()
                for updates in await self._updates():
                    yield scheduler_pb2.SubmitResponse(updates=updates)
                pump.check()
                if pump.ended and not self._followed and not self._recording:
                    return

    async def _take(self, request: scheduler_pb2.SubmitRequest) -> None:
        for number, submission in enumerate(request.submissions, 1):
            try:
                await self._begin(submission)
            except CallmeshError as problem:
                self._refuse(submission.request_id, problem)
            if number % TURN == 0:
                await asyncio.sleep(0)

    async def _begin(self, submission: scheduler_pb2.Submission) -> None:
        if not submission.request_id:
            raise InvalidArgumentError("`request_id` must be set: updates are told by it")
        if len(self._followed) + self._recording >= MAX_FOLLOWED:
            raise ExhaustedError(
                f"this stream has {MAX_FOLLOWED:,} runs that have not ended: wait for some"
            )
        name = ""
        early: list[CallmeshError | None] = []

        def done(error: CallmeshError | None) -> None:
            if not name:
                early.append(error)
            else:
                self._recorded(name, submission, error)

        begun = await self._submissions.begin(submission, self._caller, done)
        name = begun.run
        self._recording += 1
        for error in early:
            self._recorded(name, submission, error)

    def _recorded(
        self, name: str, submission: scheduler_pb2.Submission, error: CallmeshError | None
    ) -> None:
        self._recording -= 1
        if error is None:
            self._follow(name, submission.request_id)
        elif isinstance(error, AlreadyExistsError):
            self._repeated.append(submission)
            self._recording += 1
            self._wanted.set()
        else:
            self._refuse(submission.request_id, error)

    def _follow(self, name: str, request_id: str) -> None:
        if self._closed:
            return
        followed = self._followed.get(name)
        if followed is None:
            end = self._live.changes.listen(RunChanged(name), lambda: self._note(name))
            self._followed[name] = _Followed([request_id], end)
        else:
            followed.phase = scheduler_pb2.RUN_PHASE_UNSPECIFIED
            if request_id not in followed.request_ids:
                followed.request_ids.append(request_id)
        self._note(name)

    def _note(self, name: str) -> None:
        self._changed[name] = None
        self._wanted.set()

    def _refuse(self, request_id: str, problem: CallmeshError) -> None:
        self._refused.append((request_id, problem))
        self._wanted.set()

    async def _updates(self) -> list[list[scheduler_pb2.RunUpdate]]:
        """What there is to tell, in messages of bounded size."""
        repeated, self._repeated = self._repeated, []
        for submission in repeated:
            await self._repeat(submission)
        refused, self._refused = self._refused, []
        updates = [_refusal(request_id, problem) for request_id, problem in refused]
        changed, self._changed = self._changed, {}
        for name in changed:
            updates += await self._update(name)
        return _pages(updates) if updates else []

    async def _repeat(self, submission: scheduler_pb2.Submission) -> None:
        """Answer what the disk knew already with that run."""
        self._recording -= 1
        try:
            name = await self._submissions.existing(submission)
        except CallmeshError as problem:
            self._refuse(submission.request_id, problem)
        else:
            self._follow(name, submission.request_id)

    async def _update(self, name: str) -> list[scheduler_pb2.RunUpdate]:
        followed = self._followed.get(name)
        run = await self._live.run_without_inputs(name) if followed is not None else None
        if followed is None or run is None or run.phase == followed.phase:
            return []
        followed.phase = run.phase
        if has_ended(run):
            del self._followed[name]
            followed.end()
        return [scheduler_pb2.RunUpdate(request_id=each, run=run) for each in followed.request_ids]

    def _close(self) -> None:
        self._closed = True
        for followed in self._followed.values():
            followed.end()
        self._followed.clear()


def _pages(updates: list[scheduler_pb2.RunUpdate]) -> list[list[scheduler_pb2.RunUpdate]]:
    if len(updates) == 1:
        return [updates]
    pages: list[list[scheduler_pb2.RunUpdate]] = [[]]
    size = 0
    for update in updates:
        size += update.ByteSize()
        if pages[-1] and (len(pages[-1]) >= MAX_UPDATES or size > MAX_BYTES):
            pages.append([])
            size = update.ByteSize()
        pages[-1].append(update)
    return pages


def _refusal(request_id: str, problem: CallmeshError) -> scheduler_pb2.RunUpdate:
    error = scheduler_pb2.SubmitError(
        code=problem.code, message=problem.message, reason=problem.reason
    )
    return scheduler_pb2.RunUpdate(request_id=request_id, error=error)
