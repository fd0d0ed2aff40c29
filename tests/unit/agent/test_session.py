"""The session with a server, and what waits to be sent in it."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from callmesh_agent import session as module
from callmesh_agent.config import AgentSettings
from callmesh_agent.core import events
from callmesh_agent.heldview import HeldView
from callmesh_agent.kept import Kept
from callmesh_agent.outbox import LOG_CHUNKS, Outbox
from callmesh_agent.session import Session
from callmesh_wire.backoff import Backoff
from callmesh_wire.errors import UnavailableError
from callmeshpb.v1 import common_pb2, node_pb2, scheduler_pb2


class Server:
    """Welcomes, sends what it is given, keeps what it hears; may be away."""

    def __init__(self):
        self.away = False
        # So many sessions end without a word.
        self.mute = 0
        self.refused = ""
        self.lease = 10.0
        self.heard = asyncio.Queue()
        self.out = asyncio.Queue()
        self.sessions = 0

    async def session(self, outgoing):
        if self.away:
            raise UnavailableError("away")
        if self.mute:
            self.mute -= 1
            await asyncio.sleep(0.01)
            return
        self.sessions += 1
        welcome = node_pb2.NodeWelcome(epoch=1, refused=self.refused)
        welcome.lease.FromMilliseconds(int(self.lease * 1000))
        yield [node_pb2.ServerMessage(welcome=welcome)]
        async with asyncio.TaskGroup() as group:
            reading = group.create_task(self._read(outgoing))
            with contextlib.suppress(GeneratorExit):
                while (message := await self.out.get()) is not None:
                    yield [message]
            reading.cancel()

    async def _read(self, outgoing):
        async for messages in outgoing:
            for message in messages:
                self.heard.put_nowait(message)

    async def next(self):
        async with asyncio.timeout(3):
            return await self.heard.get()

    async def call(self, method, requests, caller):
        raise AssertionError("no call here")
        yield b""


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(module, "RECONNECT", Backoff(base=0.01, cap=0.02))
    return Server()


@pytest.fixture
def opened(server, tmp_path):
    @contextlib.asynccontextmanager
    async def run():
        settings = AgentSettings(
            state_dir=tmp_path, runtime_dir=tmp_path, ingress_port=1,
            pages_socket=tmp_path / "web", version="1", zone="z",
        )  # fmt: skip
        heard, views, logs = [], [], []
        held = HeldView(Kept(settings, print))

        def follow():
            held.save()
            views.append(held.view.version)

        session = Session(
            settings, server, heard.append, held, follow, lambda *each: logs.append(each)
        )
        async with asyncio.TaskGroup() as group:
            task = group.create_task(session.run())
            yield session, heard, views
            task.cancel()

    return run


async def until(what):
    async with asyncio.timeout(3):
        while not what():
            await asyncio.sleep(0.005)


async def test_it_begins_with_hello_and_conditions(opened, server):
    async with opened() as (session, heard, _):
        hello = (await server.next()).hello
        assert (hello.node, hello.protocol_version, hello.zone) == ("local", 1, "z")
        assert hello.capacity.slots >= 4
        assert (await server.next()).HasField("conditions")
        await session.opened.wait()
        assert heard == [events.SessionOpened()]


async def test_orders_become_events_in_their_order(opened, server):
    async with opened() as (session, heard, views):
        await session.opened.wait()
        order = node_pb2.AttemptOrder(run="r")
        go = node_pb2.AttemptGo(run="r")
        for message in (
            node_pb2.ServerMessage(prepare=order),
            node_pb2.ServerMessage(go=go),
            node_pb2.ServerMessage(desired={"version": 1}),
            node_pb2.ServerMessage(mesh_view={"version": 2}),
        ):
            server.out.put_nowait(message)
        await until(lambda: views)
    assert heard[1:4] == [
        events.AttemptOrdered(order),
        events.AttemptReleased(go),
        events.DesiredReceived(node_pb2.DesiredSet(version=1)),
    ]
    assert views == [2]


def service(name, tag):
    return node_pb2.ServiceView(service={"mesh_name": name}, tag=tag)


async def test_a_delta_makes_the_view_and_the_next_hello_says_so(opened, server):
    async with opened() as (_, _heard, views):
        hello = (await server.next()).hello
        assert (hello.takes_deltas, hello.view_version, hello.view_tags) == (True, 0, {})
        whole = node_pb2.MeshView(version=5, services=[service("a", 1), service("b", 2)])
        server.out.put_nowait(node_pb2.ServerMessage(mesh_view=whole))
        delta = node_pb2.MeshDelta(
            from_version=5, version=9, changed=[service("c", 3), service("b", 4)], removed=["a"]
        )
        server.out.put_nowait(node_pb2.ServerMessage(mesh_delta=delta))
        await until(lambda: views == [5, 9])
        server.out.put_nowait(None)
        hello = await next_hello(server)
        assert (hello.view_version, dict(hello.view_tags)) == (9, {"b": 4, "c": 3})
        assert whole.version == 5, "the server's own"


async def test_a_delta_against_another_view_is_asked_for_again(opened, server):
    async with opened() as (_, _heard, views):
        await next_hello(server)
        whole = node_pb2.MeshView(version=5, services=[service("a", 1)])
        server.out.put_nowait(node_pb2.ServerMessage(mesh_view=whole))
        delta = node_pb2.MeshDelta(from_version=4, version=6, removed=["a"])
        server.out.put_nowait(node_pb2.ServerMessage(mesh_delta=delta))
        hello = await next_hello(server)
        assert (hello.view_version, dict(hello.view_tags)) == (5, {"a": 1})
        assert views == [5]


async def next_hello(server):
    while not (message := await server.next()).HasField("hello"):
        pass
    return message.hello


async def test_a_session_that_ends_is_opened_again_with_everything(opened, server):
    condition = common_pb2.Condition(type="EnvoyReady")
    async with opened() as (session, heard, _):
        await session.opened.wait()
        session.report_conditions([condition])
        server.out.put_nowait(None)
        await until(lambda: server.sessions == 2 and len(heard) == 3)
        assert heard[1:] == [events.SessionClosed(), events.SessionOpened()]
        said = []
        while not said or not said[-1].conditions.conditions or said[-1].HasField("hello"):
            said.append(await server.next())


async def test_a_session_that_ends_before_its_welcome_is_opened_again(opened, server):
    server.mute = 2
    async with opened() as (session, _, _):
        async with asyncio.timeout(3):
            await session.opened.wait()
    assert server.mute == 0


async def test_a_server_that_is_away_is_tried_again(opened, server):
    server.away = True
    async with opened() as (session, heard, _):
        await asyncio.sleep(0.05)
        assert heard == []
        server.away = False
        await asyncio.wait_for(session.opened.wait(), 3)


async def test_a_silent_node_renews_its_lease(opened, server):
    server.lease = 0.15
    async with opened() as (session, _, _):
        await session.opened.wait()
        kinds = [(await server.next()).WhichOneof("message") for _ in range(4)]
    assert kinds == ["hello", "conditions", "lease", "lease"]


async def test_reports_without_a_session_are_dropped(opened, server):
    server.away = True
    async with opened() as (session, _, _):
        session.report_instance(node_pb2.InstanceReport(id="a"))
        server.away = False
        await session.opened.wait()
        kinds = [(await server.next()).WhichOneof("message") for _ in range(2)]
    assert kinds == ["hello", "conditions"]


async def taken(outbox):
    stream = outbox.stream()
    found = await anext(stream)
    await stream.aclose()
    return found


async def test_of_each_thing_only_the_newest_waits():
    outbox = Outbox()
    for phase in (scheduler_pb2.ATTEMPT_PHASE_RUNNING, scheduler_pb2.ATTEMPT_PHASE_SUCCEEDED):
        report = node_pb2.AttemptReport(run="r", phase=phase)
        outbox.put(node_pb2.AgentMessage(attempt=report), "r")
    outbox.put(node_pb2.AgentMessage(lease={}))
    first, second = await taken(outbox)
    assert first.attempt.phase == scheduler_pb2.ATTEMPT_PHASE_SUCCEEDED
    assert second.HasField("lease")


async def test_log_lines_wait_for_room_and_for_no_dead_session():
    outbox = Outbox()
    for _ in range(LOG_CHUNKS):
        assert await outbox.put_chunk(node_pb2.LogChunk())
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(outbox.put_chunk(node_pb2.LogChunk(stream_id="last")))
        await asyncio.sleep(0)
        assert not waiting.done()
        await taken(outbox)
        assert await waiting
        for _ in range(LOG_CHUNKS - 1):
            assert await outbox.put_chunk(node_pb2.LogChunk())
        late = group.create_task(outbox.put_chunk(node_pb2.LogChunk()))
        await asyncio.sleep(0)
        outbox.close()
        assert not await late


async def test_a_cancellation_that_the_link_takes_for_a_failure_ends_the_session(
    opened, server, monkeypatch
):
    async def session(outgoing):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise UnavailableError("failed to connect") from None
        yield []

    monkeypatch.setattr(server, "session", session)
    async with asyncio.timeout(10), opened():
        await asyncio.sleep(0.05)
