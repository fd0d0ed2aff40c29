"""Readiness and health, against real listeners of this process."""

from __future__ import annotations

import asyncio
import contextlib
import os

import pytest

from callmesh_agent import ports, probe
from callmesh_agent.core import events
from callmesh_agent.core.state import Instance, Phase
from callmesh_agent.probe import Target
from callmeshpb.v1 import node_pb2, scheduler_pb2, supervisor_pb2

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
BAD = b"HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n"


class Server:
    """Answers every connection with ``answer``; None: never."""

    def __init__(self):
        self.answer = OK
        self.asked = []
        self.server = None
        self.port = 0

    async def start(self, port=0):
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", port)
        self.port = self.server.sockets[0].getsockname()[1]

    def stop(self):
        self.server.close()

    async def _serve(self, reader, writer):
        with contextlib.suppress(ConnectionError):
            self.asked.append((await reader.readline()).split()[1].decode())
            if self.answer is None:
                await reader.read()
            writer.write(self.answer or b"")
        writer.close()


@pytest.fixture
async def server():
    made = Server()
    await made.start()
    yield made
    made.stop()


def target(*candidates, **fields):
    values = {
        "instance_id": "web",
        "generation": 1,
        "pid": os.getpid(),
        "ports": candidates,
        "path": "/health",
        "is_watched": False,
        "is_inherited": False,
        "is_tcp_enough": True,
    }
    return Target(**{**values, **fields})


async def first(asked, seconds=3.0):
    async with asyncio.timeout(seconds):
        return await anext(probe.watch(asked, ports.ListenerTable()))


async def test_an_http_answer_is_ready(server):
    event = await first(target(server.port, is_tcp_enough=False))
    assert event == events.InstanceReady("web", 1, "127.0.0.1", server.port)
    assert server.asked == ["/health"]


async def test_readiness_is_seen_within_20_ms():
    server = Server()
    asked = asyncio.Event()

    async def ready():
        asked.set()
        await first(target(port))
        return asyncio.get_running_loop().time()

    await server.start()
    port = server.port
    server.stop()
    await server.server.wait_closed()
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(ready())
        await asked.wait()
        await asyncio.sleep(0.03)
        await server.start(port)
        began = asyncio.get_running_loop().time()
    server.stop()
    assert waiting.result() - began < 2


async def test_an_answer_over_499_is_not(server):
    server.answer = BAD
    event = await first(target(server.port, is_tcp_enough=False))
    assert isinstance(event, events.InstanceNoted)
    assert f"GET /health on port {server.port}: answered 503" in event.message


async def test_what_speaks_no_http_is_ready_when_it_accepts(server):
    server.answer = b"SSH-2.0-x\r\n"
    assert isinstance(await first(target(server.port)), events.InstanceReady)


async def test_silence_is_ready_only_where_tcp_is_enough(server, monkeypatch):
    monkeypatch.setattr(probe, "ANSWER", 0.1)
    server.answer = None
    assert isinstance(await first(target(server.port)), events.InstanceReady)
    event = await first(target(server.port, is_tcp_enough=False))
    assert isinstance(event, events.InstanceNoted)


async def test_the_declared_port_is_found_where_the_given_one_is_not_used(server):
    event = await first(target(1, server.port))
    assert isinstance(event, events.InstanceReady)
    assert event.port == server.port


async def test_anothers_listener_is_not_ready_and_its_holder_is_named(server):
    async with asyncio.timeout(5):
        process = await asyncio.create_subprocess_exec("sleep", "60")
        try:
            event = await first(target(1, server.port, pid=process.pid))
        finally:
            process.kill()
            await process.wait()
    assert isinstance(event, events.InstanceNoted)
    assert f"port {server.port} is held by process {os.getpid()}" in event.message
    assert server.asked == []


async def test_a_listener_on_a_port_that_nobody_gave_it_is_named(server):
    event = await first(target(1))
    assert isinstance(event, events.InstanceNoted)
    assert event.message.startswith("nothing of it listens on port 1 yet, which PORT names")
    assert str(server.port) in event.message.partition("it listens on ")[2]
    assert event.message.endswith("instead: have it use `$PORT`")


async def test_a_lost_listener_is_said(server, monkeypatch):
    monkeypatch.setattr(probe, "HEALTH_EVERY", 0.05)
    heard = []
    async with asyncio.timeout(3):
        async for event in probe.watch(target(server.port), ports.ListenerTable()):
            heard.append(event)
            if len(heard) == 1:
                server.stop()
            else:
                break
    assert isinstance(heard[1], events.InstanceUnwell)
    assert heard[1].listener_lost


async def test_a_watched_path_may_fail_twice(server, monkeypatch):
    monkeypatch.setattr(probe, "HEALTH_EVERY", 0.02)
    heard = []
    asked = target(server.port, path="/live", is_watched=True, is_tcp_enough=False)
    async with asyncio.timeout(3):
        async for event in probe.watch(asked, ports.ListenerTable()):
            heard.append(event)
            server.answer = BAD if len(heard) % 2 else OK
            if len(heard) == 3:
                break
    assert [type(each) for each in heard] == [
        events.InstanceReady,
        events.InstanceUnwell,
        events.InstanceReady,
    ]
    assert "GET /live failed 3 times in a row: answered 503" in heard[1].message


def instance(labels, desired=None):
    process = supervisor_pb2.Process(pid=7, port=9000, labels=labels)
    return Instance(id="web", phase=Phase.PROBING, since=0, process=process, desired=desired)


def test_how_an_adopted_one_is_asked_is_in_its_labels():
    spec = scheduler_pb2.AppSpec(kind=scheduler_pb2.APP_KIND_COMMAND, port=8501)
    found = probe.target_of(instance(probe.labels_of(spec)))
    assert (found.ports, found.is_tcp_enough, found.is_watched) == ((9000, 8501), True, False)


def test_an_asgi_app_must_answer_on_the_socket_that_it_inherited():
    spec = scheduler_pb2.AppSpec(kind=scheduler_pb2.APP_KIND_ASGI, port=8080)
    desired = node_pb2.DesiredInstance(spec=scheduler_pb2.AppSpec(health_path="/live"))
    found = probe.target_of(instance(probe.labels_of(spec), desired))
    assert found.is_inherited
    assert (found.path, found.is_watched, found.is_tcp_enough) == ("/live", True, False)
