"""The control plane's methods as a workload calls them: frames on its node's socket.

No gRPC: a workload may be forked from a zygote at any time, and its node's
agent forwards every call. A connection carries one call at a time and goes
back to a pool after a unary one, so that no call waits behind another's
stream and a slow reader slows down its own stream only.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import AsyncGenerator, AsyncIterator

from google.protobuf.message import Message

from callmesh._passthrough import passed_authorization
from callmesh._transport import PATIENCE, while_away
from callmesh_wire import errors, frames
from callmesh_wire.backoff import Backoff
from callmesh_wire.methods import Method, methods
from callmeshpb.v1 import workload_pb2

# For a connection to the agent, seconds.
AGENT_PATIENCE = 5.0
MAX_IDLE = 16
_RETRY = Backoff(base=0.02, factor=2.0, cap=0.5)
_CALL = 1
# Connections of a process that forked: closing them here would touch the
# event poll that parent and child share.
_abandoned: list[object] = []


class _Connection:
    """One stream to the agent, introduced by a hello."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, message: workload_pb2.WorkloadMessage) -> None:
        self._writer.write(frames.encode(message))
        await self._writer.drain()

    async def receive(self) -> workload_pb2.WorkloadCallReply:
        """The next reply. Raises `ConnectionError` when the agent is gone."""
        while True:
            reply = await frames.read(self._reader, workload_pb2.WorkloadReply)
            if reply is None:
                raise ConnectionResetError("the agent closed the connection")
            if reply.WhichOneof("message") == "reply":
                return reply.reply

    @property
    def is_open(self) -> bool:
        return not (self._reader.at_eof() or self._writer.is_closing())

    def close(self) -> None:
        self._writer.close()


class NodeTransport:
    """Calls through the agent's workload socket; opened at the first call.

    Every method belongs to one event loop. A call made while the agent or the
    control plane is away waits for it. After a fork the child opens connections
    of its own.
    """

    def __init__(self, socket_path: str) -> None:
        self._path = socket_path
        self._idle: list[_Connection] = []
        self._pid = os.getpid()

    @property
    def patience(self) -> float:
        """Long: a workload's mesh exists."""
        return PATIENCE

    async def unary(
        self, method: str, request: Message, *, timeout: float | None = None
    ) -> Message:
        """Call once; again while agent or server are away, for every request is safe to repeat.

        Raises `UnavailableError` when they stay away, `DeadlineError` after
        ``timeout`` seconds.
        """
        found = _find(method)
        deadline = None if timeout is None else time.monotonic() + timeout
        try:
            async with asyncio.timeout(timeout):
                payload = await while_away(
                    lambda: self._exchange(method, request, deadline), lambda: self.patience
                )
        except TimeoutError:
            raise errors.DeadlineError(
                f"`{method}` was not answered within {timeout:g} s"
            ) from None
        return found.response.FromString(payload)

    async def stream(
        self, method: str, requests: Message | AsyncIterator[Message]
    ) -> AsyncGenerator[Message, None]:
        """Call with a stream on either side or both; yields what is answered.

        A connection lost on the way raises `UnavailableError`: the caller
        knows where to resume. Closing the generator cancels the call.
        """
        found = _find(method)
        connection = await self._open(None)
        # A task group would wrap what this generator raises and how it is
        # closed; the generator itself owns the sender, and ends it below.
        sender = asyncio.get_running_loop().create_task(_send(connection, method, requests))
        try:
            async for payload in _payloads(connection, sender):
                yield found.response.FromString(payload)
        finally:
            connection.close()
            sender.cancel()
            await asyncio.gather(sender, return_exceptions=True)

    async def close(self) -> None:
        """Close what is open."""
        idle, self._idle = self._mine(), []
        for connection in idle:
            connection.close()

    async def _exchange(self, method: str, request: Message, deadline: float | None) -> bytes:
        call = _call(method, request.SerializeToString())
        while True:
            pooled = self._pooled()
            connection = pooled or await self._open(deadline)
            try:
                await connection.send(call)
                reply = await connection.receive()
            except OSError as problem:
                connection.close()
                if pooled is not None:
                    # The agent went away while it lay in the pool. A request is
                    # safe to repeat: what changes anything has a request_id.
                    continue
                raise _gone(problem) from None
            except BaseException:
                connection.close()
                raise
            break
        if len(self._idle) < MAX_IDLE:
            self._idle.append(connection)
        else:
            connection.close()
        return _payload(reply)

    def _pooled(self) -> _Connection | None:
        idle = self._mine()
        while idle:
            connection = idle.pop()
            if connection.is_open:
                return connection
            connection.close()
        return None

    def _mine(self) -> list[_Connection]:
        if os.getpid() != self._pid:
            _abandoned.append(self._idle)
            self._idle = []
            self._pid = os.getpid()
        return self._idle

    async def _open(self, deadline: float | None) -> _Connection:
        self._mine()
        last = time.monotonic() + AGENT_PATIENCE
        if deadline is not None:
            last = min(last, deadline)
        attempt = 0
        while True:
            try:
                reader, writer = await asyncio.open_unix_connection(self._path)
                connection = _Connection(reader, writer)
                await connection.send(_hello())
            except OSError as problem:
                delay = _RETRY.jittered(attempt, random.random)
                if time.monotonic() + delay > last:
                    raise _gone(problem) from None
                await asyncio.sleep(delay)
                attempt += 1
            else:
                return connection


async def _send(
    connection: _Connection, method: str, requests: Message | AsyncIterator[Message]
) -> None:
    """Send the call and its requests. Raises what the caller's iterator raises."""
    if isinstance(requests, Message):
        await connection.send(_call(method, requests.SerializeToString()))
        return
    await connection.send(_call(method, b"", streaming=True))
    async for request in requests:
        await connection.send(_data(request.SerializeToString()))
    await connection.send(_data(b"", end=True))


async def _payloads(connection: _Connection, sender: asyncio.Task[None]) -> AsyncIterator[bytes]:
    """What is answered. Raises the sender's error as soon as there is one."""

    def end_reading(done: asyncio.Task[None]) -> None:
        if not done.cancelled() and done.exception() is not None:
            connection.close()

    sender.add_done_callback(end_reading)
    while True:
        try:
            reply = await connection.receive()
        except OSError as problem:
            if (
                sender.done()
                and not sender.cancelled()
                and not isinstance(failed := sender.exception(), OSError | None)
            ):
                raise failed from None
            raise _gone(problem) from None
        if reply.HasField("status") or not reply.end or reply.payload:
            yield _payload(reply)
        if reply.end:
            return


def _payload(reply: workload_pb2.WorkloadCallReply) -> bytes:
    if reply.HasField("status") and reply.status.code:
        raise errors.from_status(reply.status)
    return reply.payload


def _find(method: str) -> Method:
    found = methods().get(method)
    if found is None:
        raise errors.UnimplementedError(f"there is no method `{method}`")
    return found


def _gone(problem: OSError) -> errors.UnavailableError:
    return errors.UnavailableError(
        f"the node's agent cannot be reached ({problem.strerror or problem}): "
        "the call can be made again once it is back"
    )


def _hello() -> workload_pb2.WorkloadMessage:
    instance = os.environ.get("CALLMESH_INSTANCE_ID", "")
    hello = workload_pb2.WorkloadHello(calls_only=True)
    if instance:
        hello.instance_id = instance
    else:
        hello.worker_id = os.environ.get("CALLMESH_WORKER_ID", "")
    return workload_pb2.WorkloadMessage(hello=hello)


def _call(method: str, payload: bytes, *, streaming: bool = False) -> workload_pb2.WorkloadMessage:
    return workload_pb2.WorkloadMessage(
        call=workload_pb2.WorkloadCall(
            id=_CALL,
            method=method,
            payload=payload,
            streaming=streaming,
            authorization=passed_authorization(),
        )
    )


def _data(payload: bytes, *, end: bool = False) -> workload_pb2.WorkloadMessage:
    return workload_pb2.WorkloadMessage(
        data=workload_pb2.WorkloadCallData(id=_CALL, payload=payload, end=end)
    )
