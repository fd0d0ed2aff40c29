"""The workload socket: real connections from real processes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from pathlib import Path

import pytest

from callmesh_agent.core import events
from callmesh_agent.identities import Identities
from callmesh_agent.socket import Around, WorkloadSocket
from callmesh_wire import frames
from callmesh_wire.errors import NotFoundError
from callmeshpb.v1 import node_pb2, scheduler_pb2, supervisor_pb2, workload_pb2

CONNECT = """
import socket, sys
from callmesh_wire.frames import BlockingFrames
from callmeshpb.v1 import workload_pb2
s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])
line = BlockingFrames(s, workload_pb2.WorkloadReply)
line.send(workload_pb2.WorkloadMessage(hello={"calls_only": True}))
reply = line.receive()
print(reply.WhichOneof("message") if reply else "closed")
"""


class Echo:
    """A link that answers each request with itself, and keeps who called."""

    def __init__(self):
        self.callers = []
        self.requests = []
        self.open = 0

    def session(self, outgoing):
        raise AssertionError("no session here")

    async def call(self, method, requests, caller):
        self.callers.append((method, caller))
        self.open += 1
        try:
            async for each in requests:
                self.requests.append(each)
                if each == b"missing":
                    raise NotFoundError("no `x`: deploy it", reason="APP_NOT_FOUND")
                if each == b"defect":
                    raise ZeroDivisionError
                yield each
        finally:
            self.open -= 1


class Node:
    """A socket that knows this process under a name of the test's choice."""

    def __init__(self, path):
        self.link = Echo()
        self.identities = Identities()
        self.events = []
        self.run = ""
        around = Around("n", self.link, self.identities, self.events.append, lambda _: self.run)
        self.socket = WorkloadSocket(path, around)
        self.path = str(path)

    def am(self, process_id, **labels):
        self.identities.add(
            supervisor_pb2.Process(process_id=process_id, pid=os.getpid(), labels=labels)
        )
        self.socket.introduce()

    @contextlib.asynccontextmanager
    async def connected(self, hello=None):
        reader, writer = await asyncio.open_unix_connection(self.path)
        line = Line(reader, writer)
        if hello is not None:
            line.send(hello=hello)
        try:
            yield line
        finally:
            writer.close()


class Line:
    def __init__(self, reader, writer):
        self._reader = reader
        self.writer = writer

    def send(self, **message):
        self.writer.write(frames.encode(workload_pb2.WorkloadMessage(**message)))

    async def receive(self):
        async with asyncio.timeout(3):
            try:
                return await frames.read(self._reader, workload_pb2.WorkloadReply)
            except ConnectionError:
                return None

    async def reply(self):
        return (await self.receive()).reply


@pytest.fixture
async def node(tmp_path):
    made = Node(tmp_path / "w.sock")
    is_up = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(made.socket.run(is_up.set))
        await is_up.wait()
        yield made
        task.cancel()


async def test_the_socket_is_this_users_alone(node):
    assert Path(node.path).stat().st_mode & 0o777 == 0o600


async def test_a_worker_is_welcomed_and_takes_orders(node):
    node.am("worker/w1")
    async with node.connected({"worker_id": "w1"}) as line:
        assert (await line.receive()).welcome.node == "n"
        assert node.events == [events.WorkerConnected("w1", None)]
        node.socket.send("w1", workload_pb2.WorkloadReply(go={"run": "r"}))
        assert (await line.receive()).go.run == "r"
        report = node_pb2.AttemptReport(run="r")
        line.send(attempt=report)
        line.send(call={"id": 1, "method": "SchedulerService/GetRun"})
        await line.receive()
        assert node.events[1] == events.WorkerReported("w1", report)
    await asyncio.sleep(0.01)
    assert node.events[2] == events.WorkerDisconnected("w1")


async def test_a_stranger_is_not_served(node):
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CONNECT, node.path, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    assert out.strip() in (b"closed", b"")


async def test_a_descendant_of_ours_is(node):
    node.am("app/web-1")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CONNECT, node.path, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    assert out.strip() == b"welcome"


async def test_who_speaks_before_the_start_was_answered_waits(node):
    async with node.connected({"worker_id": "w1"}) as line:
        await asyncio.sleep(0.05)
        assert node.events == []
        node.am("worker/w1")
        assert (await line.receive()).HasField("welcome")
    assert node.events[0] == events.WorkerConnected("w1", None)


@pytest.mark.parametrize("hello", [{"worker_id": "w2"}, {"instance_id": "web"}])
async def test_nobody_is_who_they_say(node, hello):
    node.am("worker/w1")
    async with node.connected(hello) as line:
        assert await line.receive() is None
    assert node.events == []


async def test_a_module_that_calls_while_it_is_imported_is_told_so(node):
    node.am("zygote/z1")
    async with node.connected({"calls_only": True}) as line:
        await line.receive()
        line.send(call={"id": 1, "method": "SchedulerService/Submit", "streaming": True})
        line.send(data={"id": 1, "payload": b""})
        status = (await line.reply()).status
    assert status.code == 9
    assert '`if __name__ == "__main__":`' in status.message
    assert node.link.callers == []


async def test_envoy_has_no_business_here(node):
    node.am("envoy")
    async with node.connected({"calls_only": True}) as line:
        assert await line.receive() is None


async def test_what_is_not_a_frame_ends_the_connection(node):
    node.am("app/web")
    async with node.connected({"instance_id": "web"}) as line:
        await line.receive()
        line.writer.write(b"\xff\xff\xff\xff")
        assert await line.receive() is None


async def test_a_unary_call_is_one_reply(node):
    node.am("app/web", project="p", domain="d", app="shop")
    async with node.connected({"instance_id": "web"}) as line:
        await line.receive()
        line.send(call={"id": 7, "method": "SchedulerService/GetRun", "payload": b"q"})
        reply = await line.reply()
    assert (reply.id, reply.payload, reply.end) == (7, b"q", True)
    ((_, caller),) = node.link.callers
    assert (caller.kind, caller.id, caller.project, caller.domain, caller.app, caller.run) == (
        ("app", "web", "p", "d", "shop", "")
    )


async def test_a_stream_ends_with_an_empty_reply(node):
    node.am("app/web")
    async with node.connected({"instance_id": "web"}) as line:
        await line.receive()
        line.send(call={"id": 1, "method": "SchedulerService/WatchRun", "payload": b"q"})
        assert not (await line.reply()).end
        last = await line.reply()
    assert (last.end, last.payload) == (True, b"")


async def test_client_streams_pass_in_order(node):
    node.am("app/web")
    async with node.connected({"instance_id": "web"}) as line:
        await line.receive()
        line.send(call={"id": 1, "method": "BlobService/Upload", "streaming": True})
        for number in range(300):
            line.send(data={"id": 1, "payload": b"%d" % number})
        line.send(data={"id": 1, "end": True})
        await line.receive()
    assert node.link.requests[0] == b"0"


@pytest.mark.parametrize(
    "method", ["SecretService/CreateSecret", "SchedulerService/Deploy", "No/Such"]
)
async def test_what_is_not_on_the_list_is_refused(node, method):
    node.am("app/web")
    async with node.connected({"instance_id": "web"}) as line:
        await line.receive()
        line.send(call={"id": 1, "method": method})
        reply = await line.reply()
    assert (reply.end, reply.status.code) == (True, 7)
    assert node.link.callers == []


async def test_errors_keep_their_kind_and_reason(node):
    node.am("app/web")
    async with node.connected({"instance_id": "web"}) as line:
        await line.receive()
        line.send(call={"id": 1, "method": "SchedulerService/GetApp", "payload": b"missing"})
        status = (await line.reply()).status
        assert (status.code, status.reason) == (5, "APP_NOT_FOUND")
        line.send(call={"id": 2, "method": "SchedulerService/GetApp", "payload": b"defect"})
        assert (await line.reply()).status.code == 13


async def test_the_parent_of_a_submission_is_the_run_that_makes_it(node):
    node.am("worker/w1")
    node.run = "r1"
    lie = scheduler_pb2.SubmitRequest(submissions=[{"request_id": "a", "parent": "other"}])
    async with node.connected({"worker_id": "w1", "calls_only": True}) as line:
        await line.receive()
        line.send(call={"id": 1, "method": "SchedulerService/Submit", "streaming": True})
        line.send(data={"id": 1, "payload": lie.SerializeToString()})
        await line.receive()
        node.run = "r2"
        line.send(data={"id": 1, "payload": lie.SerializeToString()})
        await line.receive()
    parents = [
        each.parent
        for request in node.link.requests
        for each in scheduler_pb2.SubmitRequest.FromString(request).submissions
    ]
    assert parents == ["r1", "r2"]
    assert node.events == []


async def test_an_app_is_nobodys_child(node):
    node.am("app/web")
    lie = scheduler_pb2.RunTaskRequest(submission={"parent": "other"})
    async with node.connected({"instance_id": "web"}) as line:
        await line.receive()
        line.send(
            call={
                "id": 1,
                "method": "SchedulerService/RunTask",
                "payload": lie.SerializeToString(),
            }
        )
        await line.receive()
    (request,) = node.link.requests
    assert scheduler_pb2.RunTaskRequest.FromString(request).submission.parent == ""


async def test_a_call_ends_with_its_connection(node):
    node.am("app/web")
    async with node.connected({"instance_id": "web"}) as line:
        await line.receive()
        line.send(call={"id": 1, "method": "SchedulerService/Submit", "streaming": True})
        line.send(data={"id": 1, "payload": b""})
        await line.receive()
        assert node.link.open == 1
    await asyncio.sleep(0.02)
    assert node.link.open == 0
