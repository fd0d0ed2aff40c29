"""The supervisor's socket: requests of the agent, and what it is told unasked.

One agent at a time: a new connection replaces the old one with its first
request. A connection that goes away, or asks nothing that is understood,
changes nothing.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import struct
from pathlib import Path

from callmesh_agent.supervisor.ending import end_all
from callmesh_agent.supervisor.processes import Processes
from callmesh_wire import frames
from callmesh_wire.errors import CallmeshError
from callmeshpb.v1 import supervisor_pb2

# Seconds between two looks at the sizes of log files.
LOGS_EVERY = 30.0
# What the kernel's TERM gives workloads.
TERM_GRACE = 10.0
# An agent that reads nothing is cut off at so many bytes.
UNREAD_LIMIT = 16 * 1024 * 1024
_CREDENTIALS = struct.Struct("3i")

log = logging.getLogger("callmesh.supervisor")


class _Done(Exception):
    """Everything has ended: so does the loop."""


class AgentLine:
    """The connection to the agent, if there is one. It is told of ends and zygotes."""

    def __init__(self) -> None:
        self._writer: asyncio.StreamWriter | None = None

    def replace(self, writer: asyncio.StreamWriter) -> None:
        """Speak to a new agent from now on."""
        if self._writer is not None:
            self._writer.close()
        self._writer = writer

    def drop(self, writer: asyncio.StreamWriter) -> None:
        """The connection is gone."""
        if self._writer is writer:
            self._writer = None

    def exited(self, process: supervisor_pb2.Process) -> None:
        """A process has ended."""
        self._tell(supervisor_pb2.SupervisorReply(exited=process))

    def restarted(self, process: supervisor_pb2.Process) -> None:
        """A process was started again."""
        self._tell(supervisor_pb2.SupervisorReply(started=process))

    def zygote(self, state: supervisor_pb2.ZygoteState) -> None:
        """A zygote has finished its imports."""
        self._tell(supervisor_pb2.SupervisorReply(zygote=state))

    def _tell(self, reply: supervisor_pb2.SupervisorReply) -> None:
        writer = self._writer
        if writer is None or writer.is_closing():
            return
        if writer.transport.get_write_buffer_size() > UNREAD_LIMIT:
            writer.transport.abort()
            return
        writer.write(frames.encode(reply))


class Service:
    """Answers the agent's requests."""

    def __init__(
        self, processes: Processes, state: Path, line: AgentLine, group: asyncio.TaskGroup
    ) -> None:
        self._state = state
        self._processes = processes
        self._line = line
        self._group = group
        self._finish: asyncio.Task[None] | None = None
        self.ended = asyncio.Event()

    def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a new connection in a task of the group."""
        self._group.create_task(self._session(reader, writer))

    def terminate(self) -> None:
        """TERM was received: end everything."""
        self._group.create_task(self._shut_down(TERM_GRACE))

    async def _session(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not _is_ours(writer):
            log.warning("refused a connection of another user")
            writer.close()
            return
        try:
            request = await frames.read(reader, supervisor_pb2.SupervisorRequest)
            if request is None or request.WhichOneof("request") is None:
                return
            self._welcome(writer)
            while request is not None:
                self._group.create_task(self._answer(request, writer))
                request = await frames.read(reader, supervisor_pb2.SupervisorRequest)
        except ConnectionError as problem:
            log.info("a connection broke: %s", problem)
        finally:
            self._line.drop(writer)
            writer.close()

    def _welcome(self, writer: asyncio.StreamWriter) -> None:
        self._line.replace(writer)
        for tracked in self._processes.all:
            if tracked.zygote is not None and tracked.zygote.state is not None:
                self._line.zygote(tracked.zygote.state)
            if tracked.over.is_set():
                self._line.exited(tracked.process)

    async def _answer(
        self, request: supervisor_pb2.SupervisorRequest, writer: asyncio.StreamWriter
    ) -> None:
        reply = supervisor_pb2.SupervisorReply(id=request.id)
        try:
            await self._perform(request, reply)
        except CallmeshError as problem:
            reply.error = problem.message
        except OSError as problem:
            where = problem.filename or self._state
            reply.error = f"{problem.strerror}: `{where}`"
        except Exception as problem:
            log.exception("request %s failed", request.WhichOneof("request"))
            reply.error = f"a defect in the supervisor: {type(problem).__name__}"
        if not writer.is_closing():
            writer.write(frames.encode(reply))

    async def _perform(
        self, request: supervisor_pb2.SupervisorRequest, reply: supervisor_pb2.SupervisorReply
    ) -> None:
        match request.WhichOneof("request"):
            case "start":
                reply.started.CopyFrom(await self._processes.start(request.start))
            case "signal":
                self._processes.signal(request.signal)
            case "list":
                reply.list.processes.extend(each.process for each in self._processes.all)
            case "forget":
                self._processes.forget(request.forget.process_id)
            case "shutdown":
                await self._shut_down(request.shutdown.grace)
                reply.supervisor_pid = os.getpid()
            case None:
                reply.error = "an empty request"

    async def _shut_down(self, grace: float) -> None:
        if self._processes.is_closing:
            await self.ended.wait()
            return
        log.info("ending everything")
        try:
            await end_all(self._processes, grace)
        finally:
            # Whatever went wrong: a supervisor that was told to end does not stay.
            self.ended.set()


async def serve(listener: socket.socket, state: Path, umask: int) -> None:
    """Own the processes of ``state`` until told to end them.

    ``umask`` is what processes get; ``listener`` is a bound Unix socket.
    """
    loop = asyncio.get_running_loop()
    line = AgentLine()
    try:
        async with asyncio.TaskGroup() as group:
            processes = Processes(state, umask, line, group)
            service = Service(processes, state, line, group)
            loop.add_signal_handler(signal.SIGCHLD, processes.reap_strangers)
            loop.add_signal_handler(signal.SIGTERM, service.terminate)
            processes.adopt()
            server = await asyncio.start_unix_server(service.connected, sock=listener)
            group.create_task(_keep_logs_short(processes))
            await service.ended.wait()
            server.close()
            raise _Done
    except* _Done:
        log.info("everything has ended")


async def _keep_logs_short(processes: Processes) -> None:
    while True:
        await asyncio.sleep(LOGS_EVERY)
        processes.cut_logs()


def _is_ours(writer: asyncio.StreamWriter) -> bool:
    peer = writer.get_extra_info("socket")
    packed = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, uid, _ = _CREDENTIALS.unpack(packed)
    return uid in (os.getuid(), 0)
