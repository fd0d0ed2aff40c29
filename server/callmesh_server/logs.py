"""Logs as users read them, put together from what the nodes send.

The server keeps no line. A node's session carries the request and the chunks;
which instances and attempts there are, and when there is nothing more to come,
is decided here.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Hashable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field

from callmesh_server.api.pump import Spawn
from callmesh_server.changes import AppChanged, NodeChanged, RunChanged
from callmesh_server.core.attempts import ACTIVE_ATTEMPTS, has_ended
from callmesh_server.live import Live
from callmesh_server.sessions import DISCONNECTED, Sessions
from callmesh_wire.errors import CallmeshError, NotFoundError, UnavailableError
from callmesh_wire.names import AppName
from callmeshpb.v1 import log_pb2, node_pb2, scheduler_pb2

# After its object has ended, how long a node may take to send the rest.
REST_SECONDS = 3.0
# A node that does not answer at all, for a log that is not followed.
ANSWER_SECONDS = 15.0
MAX_WAITING = 100

Batch = log_pb2.TailLogsResponse
Resume = Mapping[str, int]


@dataclass(slots=True)
class _Merged:
    """Lines of several instances on their way to one reader."""

    changed: asyncio.Event
    room: asyncio.Event = field(default_factory=asyncio.Event)
    waiting: deque[Batch] = field(default_factory=deque)

    async def put(self, lines: Batch) -> None:
        while len(self.waiting) >= MAX_WAITING:
            self.room.clear()
            await self.room.wait()
        self.waiting.append(lines)
        self.changed.set()


class Logs:
    """Reads logs over the sessions."""

    def __init__(self, live: Live, sessions: Sessions, spawn: Spawn) -> None:
        self._live = live
        self._sessions = sessions
        self._spawn = spawn

    async def of_run(
        self, name: str, lines: int, resume: Resume, *, follow: bool
    ) -> AsyncGenerator[Batch]:
        """Attempt after attempt; with ``follow`` until the run has ended."""
        read = 0
        with self._live.changes.watch(RunChanged(name)) as changed:
            while True:
                changed.clear()
                run = await self._live.run_without_inputs(name)
                if run is None:
                    raise NotFoundError(
                        f"there is no run `{name}`: `callmesh get runs` lists what there is"
                    )
                for attempt in run.attempts[read:]:
                    is_active = attempt.phase in ACTIVE_ATTEMPTS
                    if attempt.worker:
                        async with aclosing(
                            self._attempt(name, attempt, lines, resume, follow=follow and is_active)
                        ) as batches:
                            async for batch in batches:
                                yield batch
                    elif is_active:
                        break
                    read += 1
                if not follow or (has_ended(run) and read >= len(run.attempts)):
                    return
                await changed.wait()

    async def of_app(
        self, name: AppName, lines: int, instance_id: str, resume: Resume, *, follow: bool
    ) -> AsyncGenerator[Batch]:
        """Every instance's; with ``follow`` those of new ones too, until the app is deleted."""
        world = self._live.world
        if name not in world.apps:
            raise NotFoundError(
                f"there is no app `{name.name}` in {name.project}/{name.domain}: "
                "`callmesh get apps` lists what there is"
            )
        if instance_id and instance_id not in world.instances_of_app.get(name, ()):
            raise NotFoundError(f"app `{name.name}` has no instance `{instance_id}`")
        if not follow:
            for instance in world.instances_of(name):
                if instance_id in ("", instance.id):
                    async with aclosing(
                        self._instance(instance, lines, resume, follow=False)
                    ) as batches:
                        async for batch in batches:
                            yield batch
            return
        async with aclosing(self._follow_app(name, lines, instance_id, resume)) as batches:
            async for batch in batches:
                yield batch

    async def _follow_app(
        self, name: AppName, lines: int, instance_id: str, resume: Resume
    ) -> AsyncGenerator[Batch]:
        world = self._live.world
        readers: dict[str, asyncio.Task[None]] = {}
        with self._live.changes.watch(AppChanged(name)) as changed:
            merged = _Merged(changed)
            try:
                while True:
                    changed.clear()
                    for instance in world.instances_of(name):
                        if instance.id not in readers and instance_id in ("", instance.id):
                            readers[instance.id] = self._spawn(
                                self._read(instance, lines, resume, merged)
                            )
                    while merged.waiting:
                        yield merged.waiting.popleft()
                        merged.room.set()
                    is_over = all(reader.done() for reader in readers.values())
                    if is_over and not merged.waiting and name not in world.apps:
                        return
                    await changed.wait()
            finally:
                for reader in readers.values():
                    reader.cancel()

    async def _read(
        self, instance: scheduler_pb2.Instance, lines: int, resume: Resume, merged: _Merged
    ) -> None:
        async with aclosing(self._instance(instance, lines, resume, follow=True)) as batches:
            async for batch in batches:
                await merged.put(batch)
        # Wakes the reader, which looks whether that was the last.
        asyncio.get_running_loop().call_soon(merged.changed.set)

    def _instance(
        self, instance: scheduler_pb2.Instance, lines: int, resume: Resume, *, follow: bool
    ) -> AsyncGenerator[Batch]:
        request = node_pb2.LogRequest(
            instance_id=instance.id,
            tail_lines=lines,
            follow=follow,
            resume=resume.get(instance.id, 0),
        )
        name = AppName(instance.project, instance.domain, instance.app)
        return self._chunks(
            instance.node,
            request,
            instance.id,
            AppChanged(name),
            lambda: instance.id not in self._live.world.instances,
        )

    def _attempt(
        self,
        run: str,
        attempt: scheduler_pb2.Attempt,
        lines: int,
        resume: Resume,
        *,
        follow: bool,
    ) -> AsyncGenerator[Batch]:
        part = node_pb2.AttemptLog(
            worker=attempt.worker, start=attempt.log_start, end=attempt.log_end
        )
        source = f"attempt {attempt.number}"
        request = node_pb2.LogRequest(
            attempt=part, tail_lines=lines, follow=follow, resume=resume.get(source, 0)
        )

        def is_over() -> bool:
            now = self._live.shown(run)
            at = attempt.number - 1
            return now is None or now.attempts[at].phase not in ACTIVE_ATTEMPTS

        return self._chunks(attempt.node, request, source, RunChanged(run), is_over)

    async def _chunks(
        self,
        node: str,
        request: node_pb2.LogRequest,
        source: str,
        key: Hashable,
        is_over: Callable[[], bool],
    ) -> AsyncGenerator[Batch]:
        """One source's lines, until its node says that they end, or should have.

        What is followed goes on where it was when a node that was away is back.
        """
        follow, limit = request.follow, REST_SECONDS if request.follow else ANSWER_SECONDS
        while True:
            asked = node_pb2.LogRequest()
            asked.CopyFrom(request)
            try:
                async with aclosing(self._sessions.tail(node, asked)) as chunks:
                    while True:
                        chunk = await self._next(chunks, key, is_over, limit, follow=follow)
                        if chunk is None:
                            return
                        request.resume = chunk.position or request.resume
                        lines = [log_pb2.LogLine(source=source, text=line) for line in chunk.lines]
                        yield Batch(lines=lines, position=request.resume)
                        if follow and chunk.error == DISCONNECTED:
                            break
                        if chunk.error:
                            yield _of_ours(source, chunk.error)
            except CallmeshError as problem:
                if not (follow and isinstance(problem, UnavailableError)):
                    yield _of_ours(source, problem.message)
                    return
            yield _of_ours(source, f"node `{node}` is away: its log goes on when it is back")
            if not await self._is_back(node, key, is_over):
                return

    async def _is_back(self, node: str, key: Hashable, is_over: Callable[[], bool]) -> bool:
        """Wait until the node has a session; False when nothing more can come of the source."""
        with self._live.changes.watch(NodeChanged(node), key) as changed:
            while not self._sessions.connected(node):
                if is_over():
                    return False
                changed.clear()
                await changed.wait()
        return True

    async def _next(
        self,
        chunks: AsyncGenerator[node_pb2.LogChunk],
        key: Hashable,
        is_over: Callable[[], bool],
        limit: float,
        *,
        follow: bool,
    ) -> node_pb2.LogChunk | None:
        """The next chunk; None at the end, or when it does not come any more."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(None if follow else limit) as timeout:

                def changed() -> None:
                    if is_over() and timeout.when() is None:
                        timeout.reschedule(loop.time() + limit)

                end = self._live.changes.listen(key, changed)
                try:
                    changed()
                    return await anext(chunks, None)
                finally:
                    end()
        except TimeoutError:
            return None


def _of_ours(source: str, text: str) -> Batch:
    """A line that its source has not written."""
    return Batch(lines=[log_pb2.LogLine(source=source, text=f"callmesh: {text}")])
