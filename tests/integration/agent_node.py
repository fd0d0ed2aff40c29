"""A real agent with real processes, and a scripted control plane in front of it."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
import itertools
import os
import shutil
import socket
import tarfile
import tempfile
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from pathlib import Path

from callmesh_agent.agent import Agent
from callmesh_agent.config import AgentSettings
from callmesh_agent.link import WorkloadIdentity
from callmesh_agent.supervisor.client import SupervisorClient
from callmesh_wire.errors import NotFoundError
from callmeshpb.v1 import (
    common_pb2,
    node_pb2,
    registry_pb2,
    scheduler_pb2,
)

Report = node_pb2.InstanceReport | node_pb2.AttemptReport


def bundle(files: dict[str, str]) -> tuple[str, bytes]:
    """A gzipped tar of these files, and its digest."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as tar:
        for name, text in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(text.encode())
            tar.addfile(info, io.BytesIO(text.encode()))
    return hashlib.sha256(made.getvalue()).hexdigest(), made.getvalue()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class ControlPlane:
    """A `Link` whose server is the test: sends what it is told, keeps what it hears."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.instances: dict[str, node_pb2.InstanceReport] = {}
        self.attempts: dict[str, node_pb2.AttemptReport] = {}
        self.heard: list[node_pb2.AgentMessage] = []
        self.calls: list[tuple[str, WorkloadIdentity, list[bytes]]] = []
        self.answers: dict[str, Callable[[bytes], list[bytes]]] = {}
        self._outgoing: asyncio.Queue[node_pb2.ServerMessage] = asyncio.Queue()
        self._changed = asyncio.Condition()
        self._desired: dict[str, node_pb2.DesiredInstance] = {}
        self._views = itertools.count(1)
        self.fences = itertools.count(1)
        self.view = node_pb2.MeshView()

    async def session(
        self, outgoing: AsyncIterator[list[node_pb2.AgentMessage]]
    ) -> AsyncIterator[list[node_pb2.ServerMessage]]:
        self._outgoing = asyncio.Queue()
        welcome = node_pb2.NodeWelcome(epoch=1)
        welcome.lease.FromSeconds(10)
        yield [node_pb2.ServerMessage(welcome=welcome)]
        async with asyncio.TaskGroup() as group:
            reading = group.create_task(self._read(outgoing))
            self.push()
            while True:
                yield [await self._outgoing.get()]
            reading.cancel()

    async def call(
        self, method: str, requests: AsyncIterator[bytes], caller: WorkloadIdentity
    ) -> AsyncIterator[bytes]:
        taken = []
        async for request in requests:
            taken.append(request)
            for answer in self.answers.get(method, lambda _: [])(request):
                yield answer
        self.calls.append((method, caller, taken))

    async def download(self, digest: str) -> AsyncGenerator[bytes]:
        if digest not in self.blobs:
            raise NotFoundError(f"there is no blob `{digest}`")
        yield self.blobs[digest]

    async def _read(self, outgoing: AsyncIterator[list[node_pb2.AgentMessage]]) -> None:
        async for message in (each async for batch in outgoing for each in batch):
            self.heard.append(message)
            match message.WhichOneof("message"):
                case "instance":
                    self.instances[message.instance.id] = message.instance
                case "attempt":
                    self.attempts[message.attempt.run] = message.attempt
            async with self._changed:
                self._changed.notify_all()

    def send(self, message: node_pb2.ServerMessage) -> None:
        self._outgoing.put_nowait(message)

    def push(self) -> None:
        """The desired set and the view, in full."""
        desired = node_pb2.DesiredSet(version=next(self._views), instances=self._desired.values())
        self.send(node_pb2.ServerMessage(desired=desired))
        view = node_pb2.MeshView()
        view.CopyFrom(self.view)
        self.send(node_pb2.ServerMessage(mesh_view=view))

    def add_code(self, files: dict[str, str]) -> str:
        digest, content = bundle(files)
        self.blobs[digest] = content
        return digest

    def want(self, instance_id: str, spec: scheduler_pb2.AppSpec, **more: object) -> None:
        """Have an instance run."""
        made = scheduler_pb2.Instance(
            id=instance_id,
            project="default",
            domain="development",
            app=spec.name,
            revision=1,
            node="local",
            intent=scheduler_pb2.INSTANCE_INTENT_RUN,
            fence=common_pb2.Fence(epoch=1, counter=next(self.fences)),
        )
        self._desired[instance_id] = node_pb2.DesiredInstance(instance=made, spec=spec, **more)  # type: ignore[arg-type]
        self.push()

    def intend(self, instance_id: str, intent: scheduler_pb2.InstanceIntent) -> None:
        """Have it drained or stopped."""
        changed = node_pb2.DesiredInstance()
        changed.CopyFrom(self._desired[instance_id])
        changed.instance.intent = intent
        self._desired[instance_id] = changed
        self.push()

    def forget(self, instance_id: str) -> None:
        """Want it no longer."""
        del self._desired[instance_id]
        self.push()

    def serve(self, name: str, mesh_port: int, *instance_ids: str) -> None:
        """Show an app with these instances in the view."""
        service = registry_pb2.Service(
            project="default", domain="development", name=name, mesh_name=name,
            protocol=common_pb2.PROTOCOL_HTTP, mesh_port=mesh_port,
            endpoint=f"http://127.0.0.1:{mesh_port}",
        )  # fmt: skip
        for each in instance_ids:
            status = self.instances[each].status
            service.endpoints.add(
                instance_id=each, node="local", address=status.address, port=status.port,
                revision=1, health=registry_pb2.ENDPOINT_HEALTH_READY,
            )  # fmt: skip
        others = [s for s in self.view.services if s.service.mesh_name != name]
        self.view = node_pb2.MeshView(
            version=next(self._views), services=[*others, node_pb2.ServiceView(service=service)]
        )
        self.push()

    def order(
        self, run: str, function: str, digest: str, module: str = "work", **fields: object
    ) -> node_pb2.AttemptOrder:
        """Send a prepare; the order."""
        task = scheduler_pb2.Task(
            environment=scheduler_pb2.TaskEnvironmentSpec(
                project="default", domain="development", name="env", version="1",
                code=common_pb2.Code(bundle=digest, module=module, attribute="env"),
            ),
            spec=scheduler_pb2.TaskSpec(name=f"env.{function}", function=function),
        )  # fmt: skip
        order = node_pb2.AttemptOrder(
            run=run,
            number=1,
            fence=common_pb2.Fence(epoch=1, counter=next(self.fences)),
            task=task,
            project="default",
            domain="development",
        )
        for name, value in fields.pop("inputs", {}).items():  # type: ignore[attr-defined]
            order.inputs[name].json = value
        order.MergeFrom(node_pb2.AttemptOrder(**fields))  # type: ignore[arg-type]
        self.send(node_pb2.ServerMessage(prepare=order))
        return order

    def go(self, order: node_pb2.AttemptOrder) -> None:
        self.send(node_pb2.ServerMessage(go={"run": order.run, "fence": order.fence}))

    def ack(self, order: node_pb2.AttemptOrder) -> None:
        self.send(node_pb2.ServerMessage(ack={"run": order.run, "fence": order.fence}))

    async def until(self, what: Callable[[], bool], seconds: float = 15.0) -> None:
        """Wait until something that was heard makes it true."""
        try:
            async with asyncio.timeout(seconds), self._changed:
                await self._changed.wait_for(what)
        except TimeoutError:
            raise AssertionError(
                f"not within {seconds} s: {self.instances} {self.attempts}"
            ) from None

    async def until_state(
        self, instance_id: str, state: scheduler_pb2.InstanceState, seconds: float = 15.0
    ) -> scheduler_pb2.InstanceStatus:
        def reached() -> bool:
            report = self.instances.get(instance_id)
            return report is not None and report.status.state == state

        await self.until(reached, seconds)
        return self.instances[instance_id].status

    async def until_phase(
        self, run: str, phase: scheduler_pb2.AttemptPhase, seconds: float = 15.0
    ) -> node_pb2.AttemptReport:
        def reached() -> bool:
            report = self.attempts.get(run)
            return report is not None and report.phase == phase

        await self.until(reached, seconds)
        return self.attempts[run]


class Node:
    """The folders of one node, and agents one after another over them."""

    def __init__(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="cm"))
        for name in ("agent", "run"):
            (self.root / name).mkdir(mode=0o700)
        self.settings = AgentSettings(
            state_dir=self.root / "agent",
            runtime_dir=self.root / "run",
            ingress_port=free_port(),
            pages_socket=self.root / "run" / "web.sock",
            version="0.1.0",
        )
        self.control = ControlPlane()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Agent]:
        """An agent that is up for the block; its processes outlive it."""
        agent = Agent(self.settings, self.control)
        is_up = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            task = group.create_task(agent.run(is_up.set))
            up = group.create_task(is_up.wait())
            await asyncio.wait({task, up}, timeout=20, return_when=asyncio.FIRST_COMPLETED)
            if not is_up.is_set():
                up.cancel()
                task.cancel()
                raise AssertionError("the agent did not come up")
            try:
                yield agent
            finally:
                task.cancel()

    async def end(self) -> None:
        """End everything that the node runs."""
        client = SupervisorClient(self.settings.supervisor_socket)
        with contextlib.suppress(OSError):
            await client.end_supervisor(0.5)
        shutil.rmtree(self.root, ignore_errors=True)

    def pids(self) -> set[int]:
        """Living processes with this node's folder in their environment or command."""
        found = set()
        mark = str(self.root).encode()
        for name in os.listdir("/proc"):  # noqa: PTH208 - fast
            if name.isdigit() and int(name) != os.getpid():
                with contextlib.suppress(OSError):
                    text = Path(f"/proc/{name}/environ").read_bytes()
                    if mark in text or mark in Path(f"/proc/{name}/cmdline").read_bytes():
                        found.add(int(name))
        return found


async def eventually(what: Callable[[], object], seconds: float = 10.0) -> None:
    """Ask until it is true."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "not in time"
        await asyncio.sleep(0.01)
