"""The agents that are connected: what they say, and what they are sent.

A session is one agent's standing stream. Orders of attempts go out in their
order; the desired set and the mesh view are level-based, so that only the
newest of each waits in the outbox. A second session of a node ends the first.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from callmesh_server.api.pump import Pump, Spawn
from callmesh_server.core import actions as do
from callmesh_server.core import attempt_reports, instances, liveness
from callmesh_server.core.joining import refusal
from callmesh_server.core.ledger import Ledger
from callmesh_server.core.world import World
from callmesh_server.routed import Routed
from callmesh_server.views import Known
from callmesh_wire.errors import (
    FailedPreconditionError,
    InvalidArgumentError,
    UnavailableError,
)
from callmeshpb.v1 import node_pb2

log = logging.getLogger(__name__)

# A session whose agent does not read is ended; it reconnects and is told anew.
MAX_OUTBOX = 100_000
MAX_LOG_CHUNKS = 1_000
# The error of a log's last chunk when its node's session has ended.
DISCONNECTED = "the node disconnected"

PortsTaken = Callable[[str, Sequence[int]], None]
React = Callable[[Callable[[World, float], list[do.Action]]], None]


class Pushes(Protocol):
    """What every session is told of the whole (`pushes.Pushes`)."""

    def known(self, hello: node_pb2.NodeHello) -> Known:
        """The mesh view that a node comes with."""
        ...

    def view(self, known: Known) -> tuple[node_pb2.ServerMessage | None, Known]:
        """What is to be sent of the mesh view, and what the node knows then."""
        ...

    def desired(self, node: str) -> node_pb2.DesiredSet:
        """Everything that the node shall run, with secrets."""
        ...

    def taken(self, node: str, version: int) -> None:
        """The node's Envoy routes by this view."""
        ...

    def never_tells(self, node: str) -> None:
        """The node does not say by which view its Envoy routes."""
        ...


@dataclass(eq=False, slots=True)
class _Session:
    node: str
    # The mesh view that its node has.
    known: Known
    wanted: asyncio.Event = field(default_factory=asyncio.Event)
    outbox: deque[node_pb2.ServerMessage] = field(default_factory=deque)
    desired: node_pb2.DesiredSet | None = None
    view_is_due: bool = True
    # Why it ends, once it does.
    closing: str = ""

    def send(self, message: node_pb2.ServerMessage) -> None:
        if len(self.outbox) >= MAX_OUTBOX:
            self.closing = "it does not read what it is sent"
        else:
            self.outbox.append(message)
        self.wanted.set()


class Sessions:
    """Every connected agent by its node's name."""

    def __init__(
        self,
        ledger: Ledger,
        spawn: Spawn,
        *,
        routed: Routed,
        epoch: int,
        lease: float,
    ) -> None:
        """``lease`` in seconds: how long a silent node counts as living."""
        self._ledger = ledger
        self._spawn = spawn
        self._routed = routed
        self._epoch = epoch
        self._lease = lease
        self._sessions: dict[str, _Session] = {}
        self._logs: dict[str, tuple[str, asyncio.Queue[node_pb2.LogChunk]]] = {}
        self._log_number = itertools.count(1)
        self._react: React
        self._flush: Callable[[], None]
        self._pushes: Pushes
        self._ports_taken: PortsTaken

    def attach(
        self,
        react: React,
        flush: Callable[[], None],
        pushes: Pushes,
        ports_taken: PortsTaken,
    ) -> None:
        """Name who decides about events, who writes, who knows what to push, and who hears
        which mesh ports a node cannot bind; once."""
        self._react = react
        self._flush = flush
        self._pushes = pushes
        self._ports_taken = ports_taken

    async def serve(
        self, incoming: AsyncIterator[Sequence[node_pb2.AgentMessage]]
    ) -> AsyncGenerator[list[node_pb2.ServerMessage]]:
        """One session, from its hello to its end; all that is ready is one item.

        Raises a `CallmeshError`.
        """
        first = await anext(incoming, None)
        if not first or first[0].WhichOneof("message") != "hello":
            raise InvalidArgumentError("a session begins with `hello`")
        hello = first[0].hello
        refused = refusal(hello, self._ledger.world, time.time())
        if refused:
            log.warning("node refused: %s", refused)
            yield [_welcome(self._epoch, self._lease, refused)]
            return
        session = self._open(hello)

        async def take(messages: Sequence[node_pb2.AgentMessage]) -> None:
            if self._sessions.get(session.node) is session:
                self._received(session.node, messages)

        pump = Pump(self._spawn, incoming, take, session.wanted)
        try:
            await take(first[1:])
            yield [_welcome(self._epoch, self._lease, ""), *self._ready(session)]
            while not session.closing:
                await session.wanted.wait()
                session.wanted.clear()
                pump.check()
                if batch := self._ready(session):
                    yield batch
                if pump.ended:
                    return
            raise UnavailableError(f"the session of node `{session.node}` ends: {session.closing}")
        finally:
            pump.stop()
            self._close(session)

    def renew(self) -> None:
        """Give every node that is not lost a full lease."""
        for name, state in list(self._ledger.world.nodes.items()):
            if not state.lost:
                self._ledger.renew(name, time.time() + self._lease)

    def connected(self, node: str) -> bool:
        """Whether the node has a session."""
        return node in self._sessions

    def send(self, node: str, message: node_pb2.ServerMessage) -> None:
        """Queue a message; dropped where the node has no session."""
        session = self._sessions.get(node)
        if session is not None:
            session.send(message)

    def close(self, node: str, reason: str) -> None:
        """End the node's session."""
        session = self._sessions.get(node)
        if session is not None:
            session.closing = reason
            session.wanted.set()

    def push_desired(self, node: str) -> None:
        """Send what the node shall run."""
        session = self._sessions.get(node)
        if session is not None:
            session.desired = self._pushes.desired(node)
            session.wanted.set()

    def push_view(self) -> int:
        """Send every node what it lacks of the mesh view; how many there are."""
        for session in self._sessions.values():
            session.view_is_due = True
            session.wanted.set()
        return len(self._sessions)

    async def tail(
        self, node: str, request: node_pb2.LogRequest
    ) -> AsyncGenerator[node_pb2.LogChunk]:
        """A log of the node, from a request without `stream_id`; ends with the log."""
        if node not in self._sessions:
            raise UnavailableError(
                f"node `{node}` is not connected: its logs can be read when it is back"
            )
        stream_id = f"log-{next(self._log_number)}"
        request.stream_id = stream_id
        chunks: asyncio.Queue[node_pb2.LogChunk] = asyncio.Queue()
        self._logs[stream_id] = (node, chunks)
        self.send(node, node_pb2.ServerMessage(log=request))
        ended = False
        try:
            while not ended:
                chunk = await chunks.get()
                ended = chunk.end
                yield chunk
        finally:
            self._logs.pop(stream_id, None)
            if not ended:
                cancel = node_pb2.LogCancel(stream_id=stream_id)
                self.send(node, node_pb2.ServerMessage(log_cancel=cancel))

    def _open(self, hello: node_pb2.NodeHello) -> _Session:
        self.close(hello.node, "the node has opened another session")
        self._forget_answers(hello.node)
        session = _Session(hello.node, self._pushes.known(hello))
        self._sessions[hello.node] = session
        if hello.tells_views:
            self._routed.joined(hello.node)
        else:
            self._pushes.never_tells(hello.node)
        self._react(lambda world, now: liveness.joined(world, hello, now, self._lease))
        session.desired = self._pushes.desired(hello.node)
        log.info("node `%s` has joined (incarnation %s)", hello.node, hello.incarnation)
        return session

    def _ready(self, session: _Session) -> list[node_pb2.ServerMessage]:
        """What is to be sent now: of the view, and of what shall run, as they are now."""
        batch = list(session.outbox)
        session.outbox.clear()
        # What replaces an instance can be called before that one is told to go.
        if session.view_is_due or session.desired is not None:
            view, session.known = self._pushes.view(session.known)
            if view is not None:
                batch.append(view)
            session.view_is_due = False
        if session.desired is not None:
            batch.append(node_pb2.ServerMessage(desired=session.desired))
            session.desired = None
        return batch

    def _close(self, session: _Session) -> None:
        if self._sessions.get(session.node) is not session:
            return
        del self._sessions[session.node]
        self._routed.left(session.node)
        self._forget_answers(session.node)
        self._react(lambda world, now: liveness.disconnected(world, session.node, now))
        log.info("the session of node `%s` ended %s", session.node, session.closing)

    def _forget_answers(self, node: str) -> None:
        """Nothing that was said or asked in the node's last session goes on in another."""
        self._ports_taken(node, ())
        for other, chunks in self._logs.values():
            if other == node:
                chunks.put_nowait(node_pb2.LogChunk(end=True, error=DISCONNECTED))

    def _received(self, node: str, messages: Sequence[node_pb2.AgentMessage]) -> None:
        self._ledger.renew(node, time.time() + self._lease)
        for message in messages:
            self._take(node, message)
        self._flush()

    def _take(self, node: str, message: node_pb2.AgentMessage) -> None:
        match message.WhichOneof("message"):
            case "attempt":
                self._react(lambda w, now: attempt_reports.reported(w, node, message.attempt, now))
            case "instance":
                self._react(lambda w, now: instances.reported(w, node, message.instance, now))
            case "instances_complete":
                self._react(lambda w, now: liveness.instances_complete(w, node, now))
            case "attempts_complete":
                self._react(lambda w, now: liveness.attempts_complete(w, node, now))
            case "conditions":
                said = message.conditions
                self._react(
                    lambda w, _: liveness.conditions_reported(
                        w, node, said.conditions, said.storage
                    )
                )
            case "ports_taken":
                self._ports_taken(node, message.ports_taken.ports)
            case "view_taken":
                self._routed.taken(node, message.view_taken.version)
                self._pushes.taken(node, message.view_taken.version)
            case "log":
                self._logged(node, message.log)
            case "hello":
                raise FailedPreconditionError("a session has one `hello`, at its beginning")
            case _:
                # A renewal of the lease, which every message is.
                pass

    def _logged(self, node: str, chunk: node_pb2.LogChunk) -> None:
        known = self._logs.get(chunk.stream_id)
        if known is None or known[0] != node:
            return
        if known[1].qsize() < MAX_LOG_CHUNKS:
            known[1].put_nowait(chunk)
            return
        del self._logs[chunk.stream_id]
        too_slow = "the log grows faster than it is read: ask for it again"
        known[1].put_nowait(node_pb2.LogChunk(end=True, error=too_slow))
        cancel = node_pb2.LogCancel(stream_id=chunk.stream_id)
        self.send(node, node_pb2.ServerMessage(log_cancel=cancel))


def _welcome(epoch: int, lease: float, refused: str) -> node_pb2.ServerMessage:
    message = node_pb2.ServerMessage(welcome=node_pb2.NodeWelcome(epoch=epoch, refused=refused))
    message.welcome.lease.FromNanoseconds(int(lease * 1e9))
    return message
