"""The agent's line to the node's supervisor."""

from __future__ import annotations

import asyncio
import os
import signal as signals
from collections.abc import Callable, Sequence
from pathlib import Path

from callmesh_wire import frames
from callmesh_wire.errors import FailedPreconditionError, UnavailableError
from callmeshpb.v1 import supervisor_pb2

# What the supervisor may take for its own end.
LAST_SECONDS = 5.0

OnProcess = Callable[[supervisor_pb2.Process], None]
OnZygote = Callable[[supervisor_pb2.ZygoteState], None]


class SupervisorClient:
    """Requests to a supervisor, and what it tells unasked.

    ``run`` must be running for anything else to work; requests made before it
    has connected wait. A refused request raises `FailedPreconditionError` with
    the supervisor's sentence, one whose answer was lost `UnavailableError`: the
    process may then have been started or not, which `list` tells.
    """

    def __init__(self, socket_path: str | Path) -> None:
        self._path = str(socket_path)
        self._writer: asyncio.StreamWriter | None = None
        # Connected, or not to be connected any more.
        self._settled = asyncio.Event()
        self._last_id = 0
        self._waiting: dict[int, asyncio.Future[supervisor_pb2.SupervisorReply]] = {}

    async def run(
        self, on_exit: OnProcess, on_zygote: OnZygote, on_restart: OnProcess | None = None
    ) -> None:
        """Connect and listen. Never returns: raises `UnavailableError` when the line is lost.

        Once something was asked, the states of all zygotes and all ends not yet
        forgotten come before the answer. An
        end of what the supervisor restarts itself is told by ``on_exit`` and
        then ``on_restart``, which are plain functions.
        """
        try:
            try:
                reader, self._writer = await asyncio.open_unix_connection(self._path)
            except OSError as problem:
                raise self._lost(problem.strerror or str(problem)) from None
            self._settled.set()
            while (reply := await frames.read(reader, supervisor_pb2.SupervisorReply)) is not None:
                if reply.id:
                    self._answered(reply)
                elif reply.HasField("exited"):
                    on_exit(reply.exited)
                elif reply.HasField("zygote"):
                    on_zygote(reply.zygote)
                elif reply.HasField("started") and on_restart is not None:
                    on_restart(reply.started)
        except ConnectionError as problem:
            raise self._lost(str(problem)) from None
        finally:
            self._close()
        raise self._lost("it closed the connection")

    async def start(self, request: supervisor_pb2.StartProcess) -> supervisor_pb2.Process:
        """Start one process; a forked one once its zygote is ready."""
        return (await self._ask(supervisor_pb2.SupervisorRequest(start=request))).started

    async def signal(
        self,
        process_id: str,
        signal: int = signals.SIGTERM,
        *,
        group: bool = False,
        kill_after: float = 0.0,
    ) -> None:
        """Signal it, or its group; KILL the group after ``kill_after`` seconds, 0: never."""
        order = supervisor_pb2.SignalProcess(
            process_id=process_id, signal=signal, group=group, kill_after=kill_after
        )
        await self._ask(supervisor_pb2.SupervisorRequest(signal=order))

    async def list(self) -> Sequence[supervisor_pb2.Process]:
        """Every process, running or ended and not forgotten."""
        request = supervisor_pb2.SupervisorRequest(list=supervisor_pb2.ListProcesses())
        return (await self._ask(request)).list.processes

    async def forget(self, process_id: str) -> None:
        """Acknowledge an end, so that it is not told again."""
        order = supervisor_pb2.ForgetProcess(process_id=process_id)
        await self._ask(supervisor_pb2.SupervisorRequest(forget=order))

    async def shutdown(self, grace: float) -> None:
        """End every process (TERM, KILL after ``grace`` seconds) and the supervisor."""
        order = supervisor_pb2.ShutdownSupervisor(grace=grace)
        await self._ask(supervisor_pb2.SupervisorRequest(shutdown=order))

    async def end_supervisor(self, grace: float) -> bool:
        """The same on a connection of its own, without `run`; False if none answers.

        Returns when the supervisor has ended.
        """
        try:
            reader, writer = await asyncio.open_unix_connection(self._path)
        except OSError:
            return False
        order = supervisor_pb2.ShutdownSupervisor(grace=grace)
        pid = 0
        try:
            writer.write(frames.encode(supervisor_pb2.SupervisorRequest(id=1, shutdown=order)))
            while (reply := await frames.read(reader, supervisor_pb2.SupervisorReply)) is not None:
                pid = pid or reply.supervisor_pid
        except ConnectionError:
            return False
        finally:
            writer.close()
        if pid:
            await _wait_for_end(pid)
        return True

    async def _ask(
        self, request: supervisor_pb2.SupervisorRequest
    ) -> supervisor_pb2.SupervisorReply:
        await self._settled.wait()
        writer = self._writer
        if writer is None:
            raise self._lost("it closed the connection")
        self._last_id += 1
        request.id = self._last_id
        answer: asyncio.Future[supervisor_pb2.SupervisorReply]
        answer = asyncio.get_running_loop().create_future()
        self._waiting[request.id] = answer
        try:
            writer.write(frames.encode(request))
            reply = await answer
        finally:
            self._waiting.pop(request.id, None)
        if reply.error:
            raise FailedPreconditionError(reply.error)
        return reply

    def _answered(self, reply: supervisor_pb2.SupervisorReply) -> None:
        answer = self._waiting.get(reply.id)
        if answer is not None and not answer.done():
            answer.set_result(reply)

    def _close(self) -> None:
        self._settled.set()
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(self._lost("it closed the connection"))

    def _lost(self, why: str) -> UnavailableError:
        return UnavailableError(f"the supervisor at `{self._path}` cannot be reached: {why}")


async def _wait_for_end(pid: int) -> None:
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(pidfd, ended.set)
    try:
        async with asyncio.timeout(LAST_SECONDS):
            await ended.wait()
    finally:
        loop.remove_reader(pidfd)
        os.close(pidfd)
