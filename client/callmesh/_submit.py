"""The standing Submit stream of this process: many runs on one connection.

A submission is remembered until its run has ended. When the stream breaks,
what is remembered is sent again: the server answers a known `request_id` with
where its run is, so nothing is lost and nothing is run twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import cast

from callmesh._sync import bridge
from callmesh._transport import Transport, jittered, new_request_id, transport
from callmesh_wire import errors
from callmeshpb.v1 import scheduler_pb2, workload_pb2

MAX_BATCH = 128
# No reconnection changes these.
FATAL = (errors.UnauthenticatedError, errors.PermissionDeniedError, errors.UnimplementedError)
FINAL = frozenset(
    (
        scheduler_pb2.RUN_PHASE_SUCCEEDED,
        scheduler_pb2.RUN_PHASE_FAILED,
        scheduler_pb2.RUN_PHASE_ABORTED,
        scheduler_pb2.RUN_PHASE_TIMED_OUT,
    )
)


class Pending:
    """One submission and what is known of its run. For code on the bridge's loop."""

    def __init__(self, submission: scheduler_pb2.Submission) -> None:
        self.submission = submission
        self.run: scheduler_pb2.Run | None = None
        self.problem: errors.CallmeshError | None = None
        self.submitted_at = asyncio.get_running_loop().time()
        self._changed = asyncio.Event()

    @property
    def is_over(self) -> bool:
        """No further update comes."""
        return self.problem is not None or (self.run is not None and self.run.phase in FINAL)

    def update(self, run: scheduler_pb2.Run) -> None:
        """Take in a newer state of the run."""
        self.run = run
        self._wake()

    def refuse(self, problem: errors.CallmeshError) -> None:
        """Take in that there is no run."""
        self.problem = problem
        self._wake()

    async def accepted(self) -> scheduler_pb2.Run:
        """The run, once it is committed. Raises why it was refused."""
        while self.run is None and self.problem is None:
            await self._changed.wait()
        return self._state()

    async def ended(self) -> scheduler_pb2.Run:
        """The run, once it has ended. Raises why it was refused."""
        while not self.is_over:
            await self._changed.wait()
        return self._state()

    async def changes(self) -> AsyncIterator[scheduler_pb2.Run]:
        """The run now, and at every change that is seen, until it has ended."""
        seen: scheduler_pb2.Run | None = None
        while True:
            if self.problem is not None:
                raise self.problem
            if self.run is not None and self.run is not seen:
                seen = self.run
                yield seen
            elif self.is_over:
                return
            else:
                await self._changed.wait()

    def _state(self) -> scheduler_pb2.Run:
        if self.run is not None:
            return self.run
        assert self.problem is not None
        raise self.problem

    def _wake(self) -> None:
        # A fresh event for the next change: whoever waits now is woken now.
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


class Submitter:
    """Keeps the stream to one control plane up for as long as a run has not ended."""

    def __init__(self, way: Transport) -> None:
        self._transport = way
        self._pending: dict[str, Pending] = {}
        self._outbox: asyncio.Queue[Pending] = asyncio.Queue()
        self._keeper: asyncio.Task[None] | None = None

    def submit(self, submission: scheduler_pb2.Submission) -> Pending:
        """Send a submission; its `request_id` is made here where it has none."""
        if not submission.request_id:
            submission.request_id = new_request_id()
        pending = Pending(submission)
        self._pending[submission.request_id] = pending
        self._outbox.put_nowait(pending)
        if self._keeper is None or self._keeper.done():
            self._keeper = bridge().group.create_task(self._keep())
        return pending

    async def close(self) -> None:
        """End the stream; what is pending goes on without this process."""
        if self._keeper is not None:
            self._keeper.cancel()

    async def _keep(self) -> None:
        failures = 0
        while True:
            problem: errors.CallmeshError
            try:
                requests = self._requests()
                async for answer in self._transport.stream("SchedulerService/Submit", requests):
                    failures = 0
                    for update in cast("scheduler_pb2.SubmitResponse", answer).updates:
                        self._take(update)
                problem = errors.UnavailableError("the control plane ended the stream")
            except errors.CallmeshError as caught:
                problem = caught
            except Exception as caught:  # noqa: BLE001 - the loop's one: its end would end the bridge
                problem = errors.InternalError(f"{type(caught).__name__}: {caught}")
            self._give_up(problem)
            if self._pending:
                await asyncio.sleep(jittered(failures))
                failures += 1
            else:
                await self._outbox_filled()
            self._send_again()

    async def _requests(self) -> AsyncIterator[scheduler_pb2.SubmitRequest]:
        while True:
            batch = [(await self._outbox.get()).submission]
            while len(batch) < MAX_BATCH and not self._outbox.empty():
                batch.append(self._outbox.get_nowait().submission)
            yield scheduler_pb2.SubmitRequest(submissions=batch)

    async def _outbox_filled(self) -> None:
        """Wait for the next submission, with no stream open."""
        self._outbox.put_nowait(await self._outbox.get())

    def _send_again(self) -> None:
        self._outbox = asyncio.Queue()
        for pending in self._pending.values():
            self._outbox.put_nowait(pending)

    def _take(self, update: scheduler_pb2.RunUpdate) -> None:
        pending = self._pending.get(update.request_id)
        if pending is None:
            return
        if update.HasField("error"):
            status = workload_pb2.CallStatus(
                code=update.error.code, message=update.error.message, reason=update.error.reason
            )
            pending.refuse(errors.from_status(status))
        else:
            pending.update(update.run)
        if pending.is_over:
            del self._pending[update.request_id]

    def _give_up(self, problem: errors.CallmeshError) -> None:
        """End submissions that cannot succeed: refused for good, or unanswered for long.

        A run that was accepted is waited for as long as its waiter likes.
        """
        now = asyncio.get_running_loop().time()
        patience = self._transport.patience
        for request_id, pending in list(self._pending.items()):
            is_late = pending.run is None and now - pending.submitted_at >= patience
            if is_late or isinstance(problem, FATAL):
                pending.refuse(problem)
                del self._pending[request_id]


def submitter() -> Submitter:
    """This process's submitter to the mesh that the settings name. For the bridge's loop."""
    way = transport()
    cells, key = bridge().cells, ("submitter", way)
    known = cells.get(key)
    if known is None:
        known = cells[key] = Submitter(way)
        bridge().closers.append(known.close)
    return cast("Submitter", known)
