"""Simulated agents: real sessions over TLS to a real server, with workloads that only say so.

A process of its own, driven by lines of JSON: one command in, one answer out.
Every agent has a channel and a connection of its own. Most look at a mesh view
no further than its version, as their parsing is no cost of the server's; the
*witnesses* keep theirs by its deltas and say in the end what they hold.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import resource
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc.aio

from callmesh_wire.backoff import Backoff
from callmesh_wire.channel import CALLER, NODE_OPTIONS, credentials
from callmesh_wire.jointoken import read
from callmeshpb.v1 import node_pb2, scheduler_pb2

# As `callmesh_agent.session` has it.
RECONNECT = Backoff(base=0.05, factor=2.0, cap=2.0)
SESSION = "/callmeshpb.v1.NodeService/Session"
READY, BACKOFF = scheduler_pb2.INSTANCE_STATE_READY, scheduler_pb2.INSTANCE_STATE_BACKOFF
RUN = scheduler_pb2.INSTANCE_INTENT_RUN
_VIEW, _DELTA = (
    node_pb2.ServerMessage.DESCRIPTOR.fields_by_name[each].number
    for each in ("mesh_view", "mesh_delta")
)


class Agent:
    """One node: what it runs, and what it has seen of the mesh."""

    def __init__(self, number: int, fleet: Fleet) -> None:
        self.number = number
        self.name = f"n{number:05d}"
        self.fleet = fleet
        self.instances: dict[str, node_pb2.InstanceReport] = {}
        self.view_version = 0
        self.tags: dict[str, int] = {}
        # A witness's view, by mesh name.
        self.services: dict[str, node_pb2.ServiceView] | None = None
        self.outgoing: asyncio.Queue[node_pb2.AgentMessage] = asyncio.Queue()
        self.said_at = 0.0
        self.connected = False

    async def run(self) -> None:
        """Keep a session, as an agent does."""
        failures = 0
        channel = self.fleet.channel()
        while True:
            try:
                await self._serve(channel)
            except grpc.aio.AioRpcError as problem:
                self.fleet.problems[f"{problem.code()}: {problem.details()}"[:200]] = self.name
            if self.connected:
                failures = 0
                self.connected = False
            await asyncio.sleep(RECONNECT.jittered(failures, random.random))
            failures += 1

    def say(self, **message: Any) -> None:
        self.outgoing.put_nowait(node_pb2.AgentMessage(**message))

    async def _serve(self, channel: grpc.aio.Channel) -> None:
        self.outgoing = asyncio.Queue()
        self.say(hello=self._hello())
        said = node_pb2.ForwardedCaller(node=self.name)
        metadata = (*self.fleet.token, (CALLER, said.SerializeToString()))
        call = channel.stream_stream(SESSION)(self._requests(self.outgoing), metadata=metadata)
        try:
            async for payload in call:
                self.fleet.received += len(payload)
                self._take(payload)
        finally:
            call.cancel()

    async def _requests(
        self, outgoing: asyncio.Queue[node_pb2.AgentMessage]
    ) -> AsyncIterator[bytes]:
        while True:
            try:
                async with asyncio.timeout(self.fleet.lease / 3):
                    messages = [await outgoing.get()]
            except TimeoutError:
                messages = [node_pb2.AgentMessage(lease=node_pb2.LeaseRenewal())]
            while not outgoing.empty():
                messages.append(outgoing.get_nowait())
            yield node_pb2.SessionRequest(messages=messages).SerializeToString()

    def _hello(self) -> node_pb2.NodeHello:
        high, low = divmod(self.number, 250)
        return node_pb2.NodeHello(
            node=self.name,
            protocol_version=1,
            incarnation="1",
            address=f"10.1.{high}.{low + 1}",
            zone=f"z{self.number % 3}",
            capacity=scheduler_pb2.NodeCapacity(
                cpu=16, memory=2**36, slots=8, python_versions=["3.11"]
            ),
            tells_views=True,
            takes_deltas=self.fleet.takes_deltas,
            view_version=self.view_version,
            view_tags=self.tags or self.fleet.tags_of(self.view_version),
        )

    def _take(self, payload: bytes) -> None:
        for _, item in fields(payload):
            assert isinstance(item, bytes)
            kind, body = next(fields(item))
            assert isinstance(body, bytes)
            if kind in (_VIEW, _DELTA):
                self._see(kind, body)
            else:
                self._order(node_pb2.ServerMessage.FromString(item))

    def _order(self, message: node_pb2.ServerMessage) -> None:
        match message.WhichOneof("message"):
            case "welcome":
                assert not message.welcome.refused, message.welcome.refused
                self.connected = True
                for report in self.instances.values():
                    self.say(instance=report)
                self.say(instances_complete=node_pb2.InstancesComplete())
                self.say(attempts_complete=node_pb2.AttemptsComplete())
            case "desired":
                for item in message.desired.instances:
                    self._run(item.instance)

    def _run(self, instance: scheduler_pb2.Instance) -> None:
        if instance.intent == RUN:
            if instance.id not in self.instances:
                self.instances[instance.id] = report = node_pb2.InstanceReport(
                    id=instance.id, fence=instance.fence
                )
                self.report(report, READY)
        elif self.instances.pop(instance.id, None) is not None:
            gone = node_pb2.InstanceReport(id=instance.id, fence=instance.fence, gone=True)
            self.say(instance=gone)

    def report(self, report: node_pb2.InstanceReport, state: int) -> None:
        """Say that an instance is in a state."""
        hashed = hashlib.blake2b(report.id.encode(), digest_size=2).digest()
        port = 1_024 + int.from_bytes(hashed) % 60_000
        report.status.CopyFrom(
            scheduler_pb2.InstanceStatus(
                state=state,  # type: ignore[arg-type]
                address="127.0.0.1",
                port=port,
                inbound_port=port + 1,
                pid=77,
            )
        )
        self.say(instance=report)

    def _see(self, kind: int, body: bytes) -> None:
        known = self.view_version
        if self.services is not None:
            self._witness(kind, body)
        elif kind == _VIEW:
            self.view_version = first_number(body, 1)
            self.fleet.keep_view(self.view_version, body)
        else:
            assert first_number(body, 1) == known, f"{self.name} has view {known}"
            self.view_version = first_number(body, 2)
            self.fleet.keep_delta(known, self.view_version, body)
        self.fleet.seen(self)
        self.say(view_taken=node_pb2.ViewTaken(version=self.view_version))

    def _witness(self, kind: int, body: bytes) -> None:
        if kind == _VIEW:
            view = node_pb2.MeshView.FromString(body)
            self.services = {each.service.mesh_name: each for each in view.services}
            self.view_version = view.version
        else:
            delta = node_pb2.MeshDelta.FromString(body)
            assert self.services is not None
            assert delta.from_version == self.view_version
            for name in delta.removed:
                del self.services[name]
            self.services |= {each.service.mesh_name: each for each in delta.changed}
            self.view_version = delta.version
        self.tags = {name: each.tag for name, each in self.services.items()}


class Fleet:
    """All agents of this process, and what is measured on them."""

    def __init__(self, target: str, token_file: str, lease: float, *, takes_deltas: bool) -> None:
        self._target = target
        token = read(Path(token_file))
        self._certificate = token.certificate.encode()
        self.token = credentials(token.secret)
        self.lease = lease
        self.takes_deltas = takes_deltas
        self.agents: list[Agent] = []
        self.received = 0
        self.problems: dict[str, str] = {}
        # When any agent got a view or a delta last.
        self.latest = 0.0
        self._views: dict[int, dict[str, int]] = {}
        self._since = 0
        self._seen_at: dict[str, float] = {}

    def channel(self) -> grpc.aio.Channel:
        """A connection of its own, as `callmesh_wire.channel.open_node_channel` makes it."""
        return grpc.aio.secure_channel(
            self._target,
            grpc.ssl_channel_credentials(root_certificates=self._certificate),
            options=[*NODE_OPTIONS, ("grpc.use_local_subchannel_pool", 1)],
        )

    def keep_view(self, version: int, body: bytes) -> None:
        """What a view's services are tagged with; read once for all agents that have it."""
        if version not in self._views:
            view = node_pb2.MeshView.FromString(body)
            self._keep(version, {each.service.mesh_name: each.tag for each in view.services})

    def keep_delta(self, known: int, version: int, body: bytes) -> None:
        """The same after a delta."""
        if version not in self._views and known in self._views:
            delta = node_pb2.MeshDelta.FromString(body)
            tags = dict(self._views[known])
            for name in delta.removed:
                tags.pop(name, None)
            self._keep(version, tags | {e.service.mesh_name: e.tag for e in delta.changed})

    def _keep(self, version: int, tags: dict[str, int]) -> None:
        self._views[version] = tags
        while len(self._views) > 50:
            del self._views[min(self._views)]

    def tags_of(self, version: int) -> dict[str, int]:
        """The tags of a view that was kept."""
        return self._views.get(version, {})

    def seen(self, agent: Agent) -> None:
        """An agent has a view."""
        self.latest = time.monotonic()
        if agent.view_version > self._since and agent.name not in self._seen_at:
            self._seen_at[agent.name] = time.monotonic()

    async def command(self, words: dict[str, Any]) -> dict[str, Any]:
        """Do what a line says."""
        match words["do"]:
            case "mark":
                self._since = max((each.view_version for each in self.agents), default=0)
                self._seen_at = {}
                return {"at": time.monotonic()}
            case "flip":
                return self._flip(words["instance"], words["ready"])
            case "seen":
                return {"times": sorted(self._seen_at.values())}
            case "state":
                versions = [each.view_version for each in self.agents]
                return {
                    "connected": sum(each.connected for each in self.agents),
                    "instances": sum(len(each.instances) for each in self.agents),
                    "oldest": min(versions),
                    "newest": max(versions),
                    "received": self.received,
                    "latest": self.latest,
                    "problems": self.problems,
                }
            case "held":
                return {"views": [_held(each) for each in self.agents if each.services is not None]}
            case "instances":
                return {"ids": sorted(i for each in self.agents for i in each.instances)}
        raise ValueError(words)

    def _flip(self, instance: str, ready: bool) -> dict[str, Any]:
        for agent in self.agents:
            report = agent.instances.get(instance)
            if report is not None:
                agent.report(report, READY if ready else BACKOFF)
                return {"at": time.monotonic()}
        raise LookupError(instance)


def _held(agent: Agent) -> dict[str, Any]:
    services = agent.services or {}
    content = b"".join(
        services[name].SerializeToString(deterministic=True) for name in sorted(services)
    )
    return {
        "version": agent.view_version,
        "services": len(services),
        "endpoints": sum(len(each.service.endpoints) for each in services.values()),
        "bytes": len(content),
        "digest": hashlib.sha256(content).hexdigest(),
    }


def fields(message: bytes) -> Iterator[tuple[int, bytes | int]]:
    """The fields of a serialised message: numbers as numbers, the rest as bytes."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        if key & 7 == 0:
            value, at = _varint(message, at)
            yield key >> 3, value
        else:
            assert key & 7 == 2, "only numbers and strings are expected here"
            size, at = _varint(message, at)
            yield key >> 3, message[at : at + size]
            at += size


def first_number(message: bytes, field: int) -> int:
    """A number of the head of a message; 0 where it is left out."""
    for number, value in fields(message):
        if number == field:
            assert isinstance(value, int)
            return value
        if number > field:
            break
    return 0


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7


async def main() -> None:
    options = json.loads(sys.argv[1])
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    fleet = Fleet(
        options["target"],
        options["token"],
        options["lease"],
        takes_deltas=options["takes_deltas"],
    )
    lines = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    async with asyncio.TaskGroup() as tasks:
        running = []
        for number in range(options["first"], options["first"] + options["count"]):
            agent = Agent(number, fleet)
            fleet.agents.append(agent)
            if number % options["witness_every"] == 0:
                agent.services = {}
            running.append(tasks.create_task(agent.run()))
        while line := await lines.readline():
            print(json.dumps(await fleet.command(json.loads(line))), flush=True)
        for task in running:
            task.cancel()


if __name__ == "__main__":
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
