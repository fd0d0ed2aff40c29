"""The network between the agents and the server.

A connection is two streams: ordered, a little late, and once it breaks what is
on its way is lost, so that a stream loses its tail and nothing else. The links
of two nodes have nothing to do with each other. While a node is cut off what is
sent is kept, as TCP does, and arrives afterwards, unless somebody gave up first.

Stands for gRPC (`callmesh_agent.remote_link`, the server's door for nodes).
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from typing import Generic, TypeVar

from google.protobuf.message import Message
from sim_clock import Clock, Process

from callmesh_wire.errors import CallmeshError, UnavailableError
from callmeshpb.v1 import node_pb2

Item = TypeVar("Item", bound=Message)

# Batches on their way at once, on a wire: whoever sends more waits.
WINDOWS = (1, 1, 2, 4)
# Seconds of silence after which each side gives a connection up.
AGENT_GIVES_UP, SERVER_GIVES_UP = 5.0, 20.0
CONNECT = (1.0, 3.0)

Accept = Callable[["Connection"], None]
See = Callable[[str, Message], None]


class Wire:
    """One node's way to the server."""

    def __init__(self, clock: Clock, rng: random.Random) -> None:
        self._clock = clock
        self._rng = rng
        self.window = rng.choice(WINDOWS)
        self._slowest = rng.choice([0.002, 0.002, 0.004, 0.004, 0.03, 0.2])
        # Nothing passes until then.
        self.cut_until = 0.0
        self.reset_at = 0.0
        self.open: list[Connection] = []

    @property
    def is_cut(self) -> bool:
        return self._clock.now < self.cut_until

    def delay(self) -> float:
        """How long the next thing is on its way."""
        return self._rng.uniform(self._slowest / 20, self._slowest)

    def cut(self, seconds: float) -> None:
        """Nothing passes for a while; both sides notice by the silence."""
        self.cut_until = max(self.cut_until, self._clock.now + seconds)
        for each in self.open:
            each.watch_silence()


class Stream(Generic[Item]):
    """One direction of a connection."""

    def __init__(self, clock: Clock, rng: random.Random, wire: Wire, reader: Process) -> None:
        self._clock = clock
        self._rng = rng
        self._wire = wire
        self._reader = reader
        self._flying: deque[Sequence[Item]] = deque()
        self._arrived: deque[Sequence[Item]] = deque()
        self._not_before = 0.0
        self._waiters: list[asyncio.Future[None]] = []
        self._error: CallmeshError | None = None
        self._ended = False
        self.is_broken = False

    async def send(self, batch: Sequence[Item]) -> None:
        """Send, once there is room."""
        while len(self._flying) + len(self._arrived) >= self._wire.window and not self._ended:
            await self._change()
        if self.is_broken or self._ended:
            return
        self._flying.append(batch)
        self._fly(self._wire.delay())

    def finish(self, error: CallmeshError | None) -> None:
        """The sender has no more; its end comes behind what it sent."""
        at = max(self._not_before, self._clock.now + self._wire.delay())
        self._clock.at(at, lambda: self._finish(error))

    def lose(self) -> None:
        """The connection breaks: what is on its way is lost."""
        self.is_broken = True
        self._flying.clear()

    def notice(self, why: str) -> None:
        """The reader hears that it is broken."""
        self.is_broken = True
        self._finish(UnavailableError(why))

    def __aiter__(self) -> AsyncIterator[Sequence[Item]]:
        return self

    async def __anext__(self) -> Sequence[Item]:
        while not self._arrived:
            if self._ended:
                if self._error is not None:
                    raise self._error
                raise StopAsyncIteration
            await self._change()
        batch = self._arrived.popleft()
        self._changed()
        return batch

    def _fly(self, seconds: float) -> None:
        self._not_before = max(self._not_before, self._clock.now + seconds)
        self._clock.at(self._not_before, self._arrive)

    def _arrive(self) -> None:
        if not self._flying:
            return
        if self._wire.is_cut:
            self._not_before = max(self._not_before, self._wire.cut_until)
            self._fly(self._not_before - self._clock.now + self._wire.delay())
            return
        self._arrived.append(self._flying.popleft())
        self._changed()

    def _finish(self, error: CallmeshError | None) -> None:
        if not self._ended:
            self._ended, self._error = True, error
            self._changed()

    def _change(self) -> asyncio.Future[None]:
        waiter: asyncio.Future[None] = self._clock.create_future()
        self._waiters.append(waiter)
        return waiter

    def _changed(self) -> None:
        waiters, self._waiters = self._waiters, []
        for each in waiters:
            if not each.done():
                each.set_result(None)


class Connection:
    """Both directions of a session."""

    def __init__(self, net: Net, node: str, wire: Wire, agent: Process, server: Process) -> None:
        self.node = node
        self.wire = wire
        self.agent = agent
        self._net = net
        self._server = server
        self.up: Stream[node_pb2.AgentMessage] = Stream(net.clock, net.rng, wire, server)
        self.down: Stream[node_pb2.ServerMessage] = Stream(net.clock, net.rng, wire, agent)
        self._silent = False
        wire.open.append(self)

    def reset(self, server_notices: float | None, agent_notices: float | None) -> None:
        """It breaks; each side notices after so many seconds, or by the silence (None)."""
        self.up.lose()
        self.down.lose()
        why = f"the connection of node `{self.node}` broke"
        self._notice(server_notices, SERVER_GIVES_UP, lambda: self._server_hears(why))
        self._notice(agent_notices, AGENT_GIVES_UP, lambda: self.down.notice(why))

    def watch_silence(self) -> None:
        """Nothing passes: the agent asks whether the other side is there, and gives up."""
        if not self._silent:
            self._silent = True
            self._net.clock.after(AGENT_GIVES_UP, self._agent_looks)
            self._net.clock.after(SERVER_GIVES_UP, self._server_looks)

    def agent_leaves(self) -> None:
        """The agent is done with it: the server hears, unless nothing passes.

        What the agent sent before may be lost, or may still come.
        """
        if self._net.rng.random() < 0.5:
            self.up.lose()
        self.down.lose()
        if self in self.wire.open:
            self.wire.open.remove(self)
        delay = None if self.wire.is_cut else self.wire.delay()
        self._notice(delay, SERVER_GIVES_UP, lambda: self._server_hears("the agent has gone"))

    def _server_hears(self, why: str) -> None:
        self.up.notice(why)
        self.down.lose()
        self.down._finish(None)

    def _notice(self, seconds: float | None, at_last: float, what: Callable[[], None]) -> None:
        self._net.clock.after(at_last if seconds is None else seconds, what)

    def _agent_looks(self) -> None:
        self._silent = False
        if self._nobody_answers():
            self.down.notice("the server does not answer")

    def _server_looks(self) -> None:
        if self.wire.is_cut:
            self._server_hears("the agent does not answer")

    def _nobody_answers(self) -> bool:
        return self.wire.is_cut or self._server.stopped


class Net:
    """Everybody's wires, and the server's door."""

    def __init__(self, clock: Clock, rng: random.Random, see: See) -> None:
        """``see`` is shown every message, with "NODE" or "NODE>" for its direction."""
        self.clock = clock
        self.rng = rng
        self.see = see
        self.wires: dict[str, Wire] = {}
        self.server: Process | None = None
        self._accept: Accept

    def listen(self, server: Process, accept: Accept) -> None:
        """A server's door is open. Connections arrive in its process."""
        self.server = server
        self._accept = accept

    def server_died(self) -> None:
        """Its machine says so to everybody whom it reaches."""
        self.server = None
        for wire in self.wires.values():
            for each in list(wire.open):
                each.reset(0.0, None if wire.is_cut else self.rng.uniform(0.0, 0.05))

    def server_stopped(self) -> None:
        """Nothing tells of it but its silence."""
        for wire in self.wires.values():
            for each in wire.open:
                each.watch_silence()

    def agent_died(self, node: str, *, power: bool) -> None:
        """Its machine says so, unless its power is gone."""
        wire = self.wires[node]
        for each in list(wire.open):
            quiet = power or wire.is_cut
            each.reset(None if quiet else self.rng.uniform(0.0, 0.05), 0.0)

    def reset(self, node: str, server_notices: float) -> None:
        """The node's connection breaks, and another may be made at once."""
        self.wires[node].reset_at = self.clock.now
        for each in list(self.wires[node].open):
            each.reset(server_notices, self.rng.uniform(0.0, 0.5))

    async def connect(self, node: str, agent: Process) -> Connection:
        """A connection of a node. Raises `UnavailableError`."""
        wire = self.wires[node]
        server = self.server
        if wire.is_cut or (server is not None and server.stopped):
            await asyncio.sleep(self.rng.uniform(*CONNECT))
            raise UnavailableError("the server does not answer")
        await asyncio.sleep(wire.delay())
        if server is None or server is not self.server:
            raise UnavailableError("nobody listens there")
        made = Connection(self, node, wire, agent, server)
        self.clock.after(0.0, lambda: self._accept(made), server)
        return made


class SimLink:
    """`callmesh_agent.link.Link`, as far as the session needs it."""

    def __init__(self, net: Net, node: str, agent: Process) -> None:
        self._net = net
        self._node = node
        self._agent = agent

    async def session(
        self, outgoing: AsyncIterator[Sequence[node_pb2.AgentMessage]]
    ) -> AsyncGenerator[Sequence[node_pb2.ServerMessage]]:
        """The standing session."""
        connection = await self._net.connect(self._node, self._agent)

        async def send() -> None:
            async for batch in outgoing:
                for each in batch:
                    self._net.see(f"{self._node}>", each)
                await connection.up.send(batch)

        sending = asyncio.get_running_loop().create_task(send())
        try:
            async for batch in connection.down:
                yield batch
        finally:
            sending.cancel()
            connection.agent_leaves()
