"""A real server on Unix and TCP sockets, and an agent that does as it is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from google.protobuf.message import Message

from callmesh_server.config import ServerSettings
from callmesh_server.server import Server
from callmesh_wire.channel import open_channel
from callmesh_wire.methods import methods
from callmesh_wire.status import from_rpc
from callmeshpb.v1 import common_pb2, node_pb2, scheduler_pb2

TOKEN = "0123456789abcdef0123456789abcdef"
OK = scheduler_pb2.ATTEMPT_PHASE_SUCCEEDED


class Client:
    """Calls methods by name; failures are typed."""

    def __init__(self, channel: grpc.aio.Channel, token: str = "") -> None:
        self.channel = channel
        self.metadata = (("authorization", f"Bearer {token}"),) if token else ()

    async def call(self, name: str, request: Message) -> Any:
        method = methods()[name]
        stub = self.channel.unary_unary(
            method.path,
            request_serializer=method.request.SerializeToString,
            response_deserializer=method.response.FromString,
        )
        try:
            return await stub(request, metadata=self.metadata, timeout=10)
        except grpc.aio.AioRpcError as problem:
            raise from_rpc(problem) from None

    async def stream(self, name: str, requests: Any) -> AsyncIterator[Any]:
        """The answers to one request, or to an async iterator of them."""
        method = methods()[name]
        kind = "stream" if method.client_streaming else "unary"
        stub = getattr(self.channel, f"{kind}_stream")(
            method.path,
            request_serializer=method.request.SerializeToString,
            response_deserializer=method.response.FromString,
        )
        call = stub(requests, metadata=self.metadata)
        try:
            async for response in call:
                yield response
        except grpc.aio.AioRpcError as problem:
            raise from_rpc(problem) from None
        finally:
            call.cancel()


@dataclass
class Agent:
    """A node's agent in this process. What it does with an attempt is `outcome`'s."""

    server: Server
    node: str = "local"
    slots: int = 8
    # None: keep the attempt running until told.
    outcome: Callable[[node_pb2.AttemptOrder], node_pb2.AttemptReport | None] | None = None
    prepared: dict[str, node_pb2.AttemptOrder] = field(default_factory=dict)
    running: dict[str, node_pb2.AttemptOrder] = field(default_factory=dict)
    received: list[node_pb2.ServerMessage] = field(default_factory=list)
    instances_ready: bool = True
    # False: as an agent from before that message.
    tells_views: bool = True
    # True: as one that has the view of `held`.
    takes_deltas: bool = False
    held: node_pb2.MeshView = field(default_factory=node_pb2.MeshView)
    known: list[node_pb2.AttemptReport] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.outgoing: asyncio.Queue[node_pb2.AgentMessage | None] = asyncio.Queue()
        self.changed = asyncio.Event()

    def say(self, **message: Message) -> None:
        self.outgoing.put_nowait(node_pb2.AgentMessage(**message))

    def hang_up(self) -> None:
        self.outgoing.put_nowait(None)

    def hello(self) -> None:
        capacity = scheduler_pb2.NodeCapacity(
            cpu=4, memory=2**33, slots=self.slots, shared_cpu=True, python_versions=["3.11"]
        )
        self.say(
            hello=node_pb2.NodeHello(
                node=self.node,
                protocol_version=1,
                incarnation="one",
                capacity=capacity,
                tells_views=self.tells_views,
                takes_deltas=self.takes_deltas,
                view_version=self.held.version,
                view_tags={each.service.mesh_name: each.tag for each in self.held.services},
            )
        )
        self.say(instances_complete=node_pb2.InstancesComplete())
        for report in self.known:
            self.say(attempt=report)
        self.say(attempts_complete=node_pb2.AttemptsComplete())

    async def messages(self) -> AsyncIterator[list[node_pb2.AgentMessage]]:
        while (message := await self.outgoing.get()) is not None:
            yield [message]

    async def run(self) -> None:
        self.hello()
        batches = self.server.sessions.serve(self.messages())
        async for message in (each async for batch in batches for each in batch):
            self.received.append(message)
            self.take(message)
            self.changed.set()

    def take(self, message: node_pb2.ServerMessage) -> None:
        match message.WhichOneof("message"):
            case "prepare":
                self.prepared[message.prepare.run] = message.prepare
            case "go":
                order = self.prepared.pop(message.go.run, None)
                if order is not None:
                    self.start(order)
            case "stop":
                order = self.running.pop(message.stop.run, None)
                if order is not None:
                    self.report(order, scheduler_pb2.ATTEMPT_PHASE_ABORTED)
            case "desired":
                for item in message.desired.instances:
                    self.observe(item.instance)
            case "mesh_view" | "mesh_delta" as kind if self.tells_views:
                version = getattr(message, kind).version
                self.say(view_taken=node_pb2.ViewTaken(version=version))

    def start(self, order: node_pb2.AttemptOrder) -> None:
        self.running[order.run] = order
        self.report(order, scheduler_pb2.ATTEMPT_PHASE_RUNNING)
        end = self.outcome(order) if self.outcome else finished(order)
        if end is not None:
            del self.running[order.run]
            self.say(attempt=end)

    def report(self, order: node_pb2.AttemptOrder, phase: int, **more: Any) -> None:
        self.say(attempt=report(order, phase, **more))

    def observe(self, instance: scheduler_pb2.Instance) -> None:
        """Say of an instance what was asked for."""
        if instance.intent != scheduler_pb2.INSTANCE_INTENT_RUN:
            gone = node_pb2.InstanceReport(id=instance.id, fence=instance.fence, gone=True)
            self.say(instance=gone)
        elif self.instances_ready:
            status = scheduler_pb2.InstanceStatus(
                state=scheduler_pb2.INSTANCE_STATE_READY, address="127.0.0.1", port=4000, pid=77
            )
            self.say(
                instance=node_pb2.InstanceReport(
                    id=instance.id, fence=instance.fence, status=status
                )
            )

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not condition():
                self.changed.clear()
                await self.changed.wait()


def report(order: node_pb2.AttemptOrder, phase: int, **more: Any) -> node_pb2.AttemptReport:
    return node_pb2.AttemptReport(
        run=order.run, number=order.number, fence=order.fence, phase=phase, worker="w1", **more
    )


def finished(order: node_pb2.AttemptOrder) -> node_pb2.AttemptReport:
    """A report of success, with the input `x` (or 1) as the output."""
    value = order.inputs["x"] if "x" in order.inputs else common_pb2.Value(json=b"1")
    return report(order, OK, outputs=[value])


@dataclass
class Mesh:
    """A server, its settings and a client on its Unix socket."""

    server: Server
    settings: ServerSettings
    client: Client
    agent: Agent
    tasks: asyncio.TaskGroup

    def tcp(self, token: str = TOKEN) -> Client:
        return Client(open_channel(f"127.0.0.1:{self.server.api_port}"), token)


StartMesh = Callable[..., AbstractAsyncContextManager[Mesh]]


@pytest.fixture
def start_mesh(tmp_path: Path) -> StartMesh:
    """Starts a server over the test's folder; again, it is the same mesh's next life."""

    @asynccontextmanager
    async def start(*, agent: bool = True, **agent_options: Any) -> AsyncIterator[Mesh]:
        token = tmp_path / "token"
        token.write_text(TOKEN)
        token.chmod(0o600)
        settings = ServerSettings(
            state_dir=tmp_path, api_socket=tmp_path / "api.sock", token_file=token, api_port=0
        )
        server = Server(settings)
        started = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(server.run(started.set))
            ready = tasks.create_task(started.wait())
            await asyncio.wait([running, ready], return_when=asyncio.FIRST_COMPLETED)
            if running.done():
                ready.cancel()
                await running
            node = Agent(server, **agent_options)
            serving = tasks.create_task(node.run()) if agent else None
            channel = open_channel(f"unix:{settings.api_socket}")
            try:
                yield Mesh(server, settings, Client(channel), node, tasks)
            finally:
                await channel.close()
                if serving is not None:
                    serving.cancel()
                running.cancel()

    return start


@pytest.fixture
async def mesh(start_mesh: StartMesh) -> AsyncIterator[Mesh]:
    """A running server with an agent."""
    async with start_mesh() as running:
        yield running
