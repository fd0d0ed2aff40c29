"""The workload socket: where this node's apps and task workers speak to it.

Only processes that the supervisor started are served, and their descendants;
the kernel says which process is at the other end. A worker's main connection
carries attempts; any connection carries calls.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from google.protobuf.message import DecodeError

from callmesh_agent.calls import Caller, Requests, failed, forward
from callmesh_agent.core import events, zygotes
from callmesh_agent.identities import Identities
from callmesh_agent.link import Calls, WorkloadIdentity
from callmesh_agent.outgoing import Outgoing
from callmesh_agent.unixsocket import listening
from callmesh_agent.worker_reports import WorkerReports
from callmesh_wire.errors import FailedPreconditionError
from callmesh_wire.frames import MAX_FRAME, FrameProblem
from callmeshpb.v1 import supervisor_pb2, workload_pb2

MAX_CONNECTIONS = 2048
# Calls at once on one connection.
MAX_CALLS = 256
BACKLOG = 512
# A process may speak before the supervisor's answer to its start is heard.
INTRODUCTION = 2.0
_CREDENTIALS = struct.Struct("3i")
_AT_IMPORT = FailedPreconditionError(
    "the module calls the mesh while it is imported: put that under "
    '`if __name__ == "__main__":` or into a function'
)
log = logging.getLogger("callmesh.agent")


@dataclass(frozen=True, slots=True)
class Around:
    """What the socket needs of the agent around it."""

    node: str
    control: Calls
    identities: Identities
    deliver: Callable[[events.Event], None]
    # The run whose attempt a worker executes now, or "".
    run_of: Callable[[str], str]


class WorkloadSocket:
    """Serves one Unix socket; every method runs in one event loop."""

    def __init__(self, path: Path, around: Around) -> None:
        self._path = path
        self.around = around
        self.lines: dict[str, Connection] = {}
        self.connections: set[Connection] = set()
        self.reports = WorkerReports(around.deliver)
        self.group: asyncio.TaskGroup | None = None
        self._known = asyncio.Event()

    async def run(self, started: Callable[[], None]) -> None:
        """Serve until cancelled."""
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as group:
            self.group = group
            listener = listening(self._path, BACKLOG)
            server = await loop.create_unix_server(lambda: Connection(self), sock=listener)
            try:
                started()
                await loop.create_future()
            finally:
                server.close()
                for connection in list(self.connections):
                    connection.abort()

    def send(self, worker_id: str, message: workload_pb2.WorkloadReply) -> None:
        """To a worker's main connection; nothing happens where that is gone."""
        line = self.lines.get(worker_id)
        if line is not None:
            line.out.send(message)

    def send_soon(self, worker_id: str, message: workload_pb2.WorkloadReply) -> None:
        """The same, for what nobody waits for: it leaves with the next message, or soon."""
        line = self.lines.get(worker_id)
        if line is not None:
            line.out.send_soon(message)

    def introduce(self) -> None:
        """A process was started: who waits to be known may look again."""
        self._known.set()
        self._known = asyncio.Event()

    async def identify(self, pid: int) -> supervisor_pb2.Process | None:
        """What a peer belongs to; waits a moment for one that was only just started."""
        try:
            async with asyncio.timeout(INTRODUCTION):
                while True:
                    found = self.around.identities.of(pid)
                    if found is not None:
                        return found
                    await self._known.wait()
        except TimeoutError:
            return None


class Connection(asyncio.Protocol):
    """One workload's connection: frames in, frames out."""

    def __init__(self, owner: WorkloadSocket) -> None:
        self._owner = owner
        self.out = Outgoing()
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._pid = 0
        self._process: supervisor_pb2.Process | None = None
        self._said_hello = False
        # Frames that came before the peer was known.
        self._early: list[workload_pb2.WorkloadMessage] = []
        self._worker = ""
        self._calls: dict[int, tuple[Requests, asyncio.Task[None]]] = {}
        self._holds = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Learn from the kernel who it is."""
        # uvloop's transports are not subclasses of asyncio's.
        transport = cast("asyncio.Transport", transport)
        self._transport = transport
        self.out.open(transport)
        self._owner.connections.add(self)
        peer = transport.get_extra_info("socket")
        raw = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        self._pid, uid, _ = _CREDENTIALS.unpack(raw)
        if uid != os.getuid() or len(self._owner.connections) > MAX_CONNECTIONS:
            self.abort()
            return
        self._process = self._owner.around.identities.of(self._pid)
        if self._process is None and self._owner.group is not None:
            self._owner.group.create_task(self._wait_to_be_known())

    def connection_lost(self, problem: Exception | None) -> None:
        """Its calls end; a worker has a moment to come back."""
        self._owner.connections.discard(self)
        self.out.close()
        for _, task in list(self._calls.values()):
            task.cancel()
        if self._worker and self._owner.lines.get(self._worker) is self:
            del self._owner.lines[self._worker]
            self._owner.reports.release(self._worker)
            self._owner.around.deliver(events.WorkerDisconnected(self._worker))

    def pause_writing(self) -> None:
        """The workload reads slowly: its streams wait."""
        self.out.pause()

    def resume_writing(self) -> None:
        """It has caught up."""
        self.out.resume()

    def data_received(self, data: bytes) -> None:
        """Take the whole frames out of what has come."""
        buffer = self._buffer
        buffer += data
        start = 0
        try:
            while len(buffer) - start >= 4:
                length = int.from_bytes(buffer[start : start + 4])
                if length > MAX_FRAME:
                    raise FrameProblem(f"a frame of {length} bytes is over the limit")
                if len(buffer) - start - 4 < length:
                    break
                payload = bytes(buffer[start + 4 : start + 4 + length])
                start += 4 + length
                self._received(workload_pb2.WorkloadMessage.FromString(payload))
        except (FrameProblem, DecodeError) as problem:
            self._refuse(f"sent what is not a frame: {problem}")
            return
        del buffer[:start]

    def abort(self) -> None:
        """End it now."""
        if self._transport is not None:
            self._transport.abort()

    async def _wait_to_be_known(self) -> None:
        self._process = await self._owner.identify(self._pid)
        if self._process is None:
            self._refuse("is not a process that this node started")
            return
        early, self._early = self._early, []
        for message in early:
            self._received(message)

    def _received(self, message: workload_pb2.WorkloadMessage) -> None:
        if self._process is None:
            if len(self._early) > MAX_CALLS:
                raise FrameProblem("too many messages before it is known")
            self._early.append(message)
            return
        kind = message.WhichOneof("message")
        if not self._said_hello:
            if kind != "hello":
                raise FrameProblem("must begin with a hello")
            self._hello(self._process, message.hello)
            return
        match kind:
            case "attempt" if self._worker:
                self._owner.reports.take(self._worker, message.attempt)
            case "call":
                self._call(message.call)
            case "data":
                self._data(message.data)
            case "cancel":
                known = self._calls.get(message.cancel.id)
                if known is not None:
                    known[1].cancel()
            case _:
                raise FrameProblem(f"`{kind}` is not expected here")

    def _hello(self, process: supervisor_pb2.Process, hello: workload_pb2.WorkloadHello) -> None:
        kind, _, its_id = process.process_id.partition("/")
        claimed = hello.worker_id or hello.instance_id
        if kind not in ("app", "worker", "zygote") or (claimed and claimed != its_id):
            self._refuse(f"says that it is `{claimed}` and is `{process.process_id}`")
            return
        self._said_hello = True
        self.out.send(workload_pb2.WorkloadReply(welcome={"node": self._owner.around.node}))
        if kind == "worker" and not hello.calls_only and self._pid == process.pid:
            self._worker = its_id
            before = self._owner.lines.get(its_id)
            self._owner.lines[its_id] = self
            self._owner.reports.release(its_id)
            if before is not None:
                before.abort()
            report = hello.attempt if hello.HasField("attempt") else None
            self._owner.around.deliver(events.WorkerConnected(its_id, report))

    def _call(self, call: workload_pb2.WorkloadCall) -> None:
        group = self._owner.group
        if group is None or len(self._calls) >= MAX_CALLS or call.id in self._calls:
            raise FrameProblem("too many calls at once on one connection")
        if self._process is not None and self._process.process_id.startswith(zygotes.PREFIX):
            self.out.send(workload_pb2.WorkloadReply(reply=failed(call.id, _AT_IMPORT)))
            return
        requests = Requests(self._hold, self._resume)
        if not call.streaming:
            requests.put(call.payload)
            requests.end()
        task = group.create_task(
            forward(
                self._owner.around.control,
                call,
                requests,
                Caller(self._identity),
                lambda reply: self.out.send(workload_pb2.WorkloadReply(reply=reply)),
                self.out.until_writable,
            )
        )
        self._calls[call.id] = (requests, task)
        task.add_done_callback(lambda _: self._calls.pop(call.id, None))

    def _data(self, data: workload_pb2.WorkloadCallData) -> None:
        known = self._calls.get(data.id)
        if known is None:
            return
        if data.payload or not data.end:
            known[0].put(data.payload)
        if data.end:
            known[0].end()

    def _identity(self) -> WorkloadIdentity:
        assert self._process is not None
        kind, _, its_id = self._process.process_id.partition("/")
        labels = self._process.labels
        return WorkloadIdentity(
            kind="app" if kind == "app" else "worker",
            id=its_id,
            project=labels.get("project", ""),
            domain=labels.get("domain", ""),
            app=labels.get("app", ""),
            run=self._owner.around.run_of(its_id) if kind == "worker" else "",
        )

    def _hold(self) -> None:
        self._holds += 1
        if self._holds == 1 and self._transport is not None:
            self._transport.pause_reading()

    def _resume(self) -> None:
        self._holds -= 1
        if self._holds == 0 and self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def _refuse(self, why: str) -> None:
        log.warning(
            "a connection of process %d to the workload socket is ended: it %s", self._pid, why
        )
        self.abort()
