"""The standing session with the server: hello, orders in, reports out, reconnect."""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
import time
from collections.abc import AsyncGenerator, Callable, Sequence

from callmesh_agent.cancelled import raise_if_cancelled
from callmesh_agent.config import AgentSettings
from callmesh_agent.core import events
from callmesh_agent.core.reports import timestamp
from callmesh_agent.heldview import HeldView
from callmesh_agent.link import Link
from callmesh_agent.outbox import Outbox
from callmesh_wire import diskfile
from callmesh_wire.backoff import Backoff
from callmesh_wire.errors import (
    CallmeshError,
    FailedPreconditionError,
    PermissionDeniedError,
    UnauthenticatedError,
    UnavailableError,
)
from callmeshpb.v1 import common_pb2, node_pb2

PROTOCOL_VERSION = 1
# The view waits for every node after a server's start: the last one's pause is everybody's.
RECONNECT = Backoff(base=0.05, factor=2.0, cap=1.0)
DEFAULT_LEASE = 10.0
_FINAL = (FailedPreconditionError, PermissionDeniedError, UnauthenticatedError)
log = logging.getLogger("callmesh.agent")


class Session:
    """One session at a time, opened again with jittered backoff when it ends."""

    def __init__(
        self,
        settings: AgentSettings,
        link: Link,
        deliver: Callable[[events.Event], None],
        held: HeldView,
        on_view: Callable[[], None],
        on_logs: Callable[[node_pb2.ServerMessage, Outbox], None],
        *,
        joined_before: bool = False,
    ) -> None:
        """``held`` follows the server. ``on_view`` hears of each change of it, ``on_logs``
        of requests for logs and their ends.

        ``joined_before``: in another life; what ran then goes on.
        """
        self._settings = settings
        self._key = diskfile.token(settings.identity_file)
        self._link = link
        self._deliver = deliver
        self._held = held
        self._on_view = on_view
        self._on_logs = on_logs
        self._incarnation = secrets.token_hex(8)
        self._outbox: Outbox | None = None
        self._conditions: tuple[common_pb2.Condition, ...] = ()
        self._ports: tuple[int, ...] = ()
        self._storage: tuple[common_pb2.StorageUse, ...] = ()
        self._was_open = joined_before
        # Why there is no session, as it was logged last.
        self._said = ""
        self.opened = asyncio.Event()

    async def run(self) -> None:
        """Keep a session until cancelled.

        Raises what the server refuses a node with that never had one: nothing
        changes that by itself. Else it is tried again, for what runs here goes on.
        """
        failures = 0
        while True:
            try:
                await self._serve()
                self._say("the server ended it")
            except* (CallmeshError, OSError) as problems:
                problem = problems.exceptions[0]
                if not self._was_open and isinstance(problem, _FINAL):
                    raise problem from None
                self._say(str(problem))
            raise_if_cancelled()
            if self.opened.is_set():
                failures = 0
                self.opened.clear()
                self._deliver(events.SessionClosed())
            await asyncio.sleep(RECONNECT.jittered(failures, random.random))
            failures += 1

    def _say(self, why: str) -> None:
        """Log why there is no session; once, however often it is tried."""
        if why != self._said:
            log.warning("no session with the server, which is tried again: %s", why)
            self._said = why

    def report_instance(self, report: node_pb2.InstanceReport) -> None:
        """Say how an instance is; nobody hears it without a session."""
        self._put(node_pb2.AgentMessage(instance=report), ("instance", report.id))

    def report_attempt(self, report: node_pb2.AttemptReport) -> None:
        """Say how an attempt is."""
        key = ("attempt", report.run, report.fence.epoch, report.fence.counter)
        self._put(node_pb2.AgentMessage(attempt=report), key)

    def report_instances_complete(self) -> None:
        """Say that every instance was reported."""
        self._put(node_pb2.AgentMessage(instances_complete=node_pb2.InstancesComplete()), "i")

    def report_attempts_complete(self) -> None:
        """Say that every attempt was reported."""
        self._put(node_pb2.AgentMessage(attempts_complete=node_pb2.AttemptsComplete()), "a")

    def report_view(self, version: int) -> None:
        """Say that this node's Envoy has taken a view."""
        self._put(node_pb2.AgentMessage(view_taken=node_pb2.ViewTaken(version=version)), "view")

    def report_conditions(self, conditions: Sequence[common_pb2.Condition]) -> None:
        """Say what holds of this node, now and to every later session."""
        self._conditions = tuple(conditions)
        self._put_conditions()

    def report_ports(self, taken: Sequence[int]) -> None:
        """Say which mesh ports somebody else has, now and to every later session."""
        self._ports = tuple(taken)
        self._put_ports()

    def _put_ports(self) -> None:
        said = node_pb2.PortsTaken(ports=self._ports)
        self._put(node_pb2.AgentMessage(ports_taken=said), "ports")

    def report_storage(self, uses: Sequence[common_pb2.StorageUse]) -> None:
        """Say what this node keeps on its disk, now and to every later session."""
        self._storage = tuple(uses)
        self._put_conditions()

    def _put_conditions(self) -> None:
        said = node_pb2.NodeConditions(conditions=self._conditions, storage=self._storage)
        self._put(node_pb2.AgentMessage(conditions=said), "conditions")

    def _put(self, message: node_pb2.AgentMessage, key: object) -> None:
        if self._outbox is not None:
            self._outbox.put(message, key)

    async def _serve(self) -> None:
        outbox = Outbox()
        outbox.put(node_pb2.AgentMessage(hello=self._hello()))
        incoming = aiter(self._link.session(outbox.stream()))
        try:
            first = await anext(incoming, None)
            if not first or not first[0].HasField("welcome"):
                raise UnavailableError("the server did not answer the hello")
            welcome = first[0].welcome
            if welcome.refused:
                raise FailedPreconditionError(welcome.refused)
            lease = welcome.lease.ToTimedelta().total_seconds() or DEFAULT_LEASE
            self._outbox = outbox
            self._deliver(events.SessionOpened())
            self._put_conditions()
            if self._ports:
                self._put_ports()
            self._was_open = True
            if self._said:
                log.warning("the session with the server is open again")
                self._said = ""
            self.opened.set()
            async with asyncio.TaskGroup() as group:
                renewal = group.create_task(_renew(outbox, lease / 3))
                self._received(first[1:], outbox)
                async for messages in incoming:
                    self._received(messages, outbox)
                renewal.cancel()
        finally:
            self._outbox = None
            outbox.close()
            if isinstance(incoming, AsyncGenerator):
                await incoming.aclose()

    def _received(self, messages: Sequence[node_pb2.ServerMessage], outbox: Outbox) -> None:
        for message in messages:
            self._take(message, outbox)

    def _take(self, message: node_pb2.ServerMessage, outbox: Outbox) -> None:
        match message.WhichOneof("message"):
            case "prepare":
                self._deliver(events.AttemptOrdered(message.prepare))
            case "go":
                self._deliver(events.AttemptReleased(message.go))
            case "ack":
                self._deliver(events.AttemptAcknowledged(message.ack))
            case "stop":
                self._deliver(events.AttemptStopRequested(message.stop))
            case "desired":
                self._deliver(events.DesiredReceived(message.desired))
            case "mesh_view" | "mesh_delta":
                self._held.take(message)
                self._on_view()
            case "log" | "log_cancel":
                self._on_logs(message, outbox)

    def _hello(self) -> node_pb2.NodeHello:
        settings = self._settings
        hello = node_pb2.NodeHello(
            node=settings.node,
            protocol_version=PROTOCOL_VERSION,
            version=settings.version,
            incarnation=self._incarnation,
            zone=settings.zone,
            labels=settings.labels,
            capacity=settings.capacity(),
            tells_views=True,
            address=settings.address,
            key=self._key,
            sent_at=timestamp(time.time()),
        )
        self._held.introduce(hello)
        return hello


async def _renew(outbox: Outbox, period: float) -> None:
    """Say that this node lives, whatever else is said: it must never be silent for longer."""
    while True:
        await asyncio.sleep(period)
        outbox.put(node_pb2.AgentMessage(lease=node_pb2.LeaseRenewal()), "lease")
