"""A real Envoy, a real ADS server, and real apps behind them, for one test."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from callmesh_agent import envoy
from callmesh_agent.xds.ads import AdsServer
from callmesh_agent.xds.rejections import Rejection
from callmesh_agent.xds.snapshot import (
    Ingress,
    LocalInstance,
    LocalTruth,
    Snapshot,
    compile_snapshot,
)
from callmeshpb.v1 import common_pb2, node_pb2, registry_pb2

UPSTREAM = Path(__file__).with_name("envoy_upstream.py")
NODE = "laptop"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class App:
    """An app in the view: its mesh port and its instances, by id, on this node.

    ``elsewhere`` are instances of other nodes: id to (zone, port).
    """

    name: str
    mesh_port: int = field(default_factory=free_port)
    instances: dict[str, int] = field(default_factory=dict)
    elsewhere: dict[str, tuple[str, int]] = field(default_factory=dict)
    protocol: common_pb2.Protocol = common_pb2.PROTOCOL_HTTP
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.mesh_port}"

    def view(self) -> node_pb2.ServiceView:
        return node_pb2.ServiceView(
            service=registry_pb2.Service(
                project="default",
                domain="development",
                name=self.name,
                mesh_name=self.name,
                protocol=self.protocol,
                mesh_port=self.mesh_port,
                endpoints=[
                    # This node knows better where its own instances are.
                    *(_endpoint(key, NODE, "", "192.0.2.1", 1) for key in self.instances),
                    *(
                        _endpoint(key, "other", zone, "127.0.0.1", port)
                        for key, (zone, port) in self.elsewhere.items()
                    ),
                ],
            ),
            **self.options,
        )


def _endpoint(key: str, node: str, zone: str, address: str, port: int) -> registry_pb2.Endpoint:
    return registry_pb2.Endpoint(
        instance_id=key,
        node=node,
        zone=zone,
        address=address,
        port=port,
        health=registry_pb2.ENDPOINT_HEALTH_READY,
    )


class Rig:
    """Publishes apps to Envoy, which it starts, kills and starts again."""

    def __init__(self, folder: Path, group: asyncio.TaskGroup) -> None:
        self.folder = folder
        self.ads_socket = str(folder / "ads.sock")
        self.admin_socket = str(folder / "admin.sock")
        self.ingress = Ingress("127.0.0.1", free_port(), str(folder / "web.sock"))
        self.apps: list[App] = []
        self.rejected: list[Rejection] = []
        self.snapshot: Snapshot | None = None
        self.ads = self._new_ads()
        self.envoy: asyncio.subprocess.Process | None = None
        self.processes: dict[str, asyncio.subprocess.Process] = {}
        self._group = group
        self._serving: asyncio.Task[None] | None = None

    def _new_ads(self) -> AdsServer:
        return AdsServer(
            self.ads_socket, lambda rejected: self.rejected.__setitem__(slice(None), rejected)
        )

    @property
    def ingress_url(self) -> str:
        return f"http://127.0.0.1:{self.ingress.port}"

    async def start_ads(self) -> None:
        self.ads = self._new_ads()
        started = asyncio.Event()
        self._serving = self._group.create_task(self.ads.run(started.set))
        await started.wait()
        if self.snapshot:
            self.ads.publish(self.snapshot)

    async def stop_ads(self) -> None:
        assert self._serving
        self._serving.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._serving

    async def start_envoy(self) -> None:
        identity = envoy.EnvoyIdentity(NODE, "", self.ads_socket, self.admin_socket)
        path = self.folder / "bootstrap.json"
        path.write_text(json.dumps(envoy.bootstrap(identity)))
        with (self.folder / "envoy.log").open("ab") as log:
            self.envoy = await asyncio.create_subprocess_exec(
                *envoy.argv(envoy.find_binary(), str(path)), stdout=log, stderr=log
            )

    async def kill_envoy(self) -> None:
        assert self.envoy
        self.envoy.kill()
        await self.envoy.wait()

    async def start(self, *apps: App) -> None:
        """Serve the apps through a new Envoy and wait until it is ready."""
        await self.start_ads()
        self.publish(*apps)
        await self.start_envoy()
        async with asyncio.timeout(10):
            while not await envoy.ready(self.admin_socket):
                await asyncio.sleep(0.01)

    def publish(self, *apps: App) -> Snapshot:
        """Publish these apps, or the same again as they are now."""
        self.apps = list(apps) or self.apps
        version = self.snapshot.version + 1 if self.snapshot else 1
        view = node_pb2.MeshView(version=version, services=[app.view() for app in self.apps])
        instances = {
            key: LocalInstance("127.0.0.1", port, ready=True)
            for app in self.apps
            for key, port in app.instances.items()
        }
        local = LocalTruth(node=NODE, zone="", instances=instances)
        self.snapshot = compile_snapshot(view, local, self.ingress, version, self.snapshot)
        self.ads.publish(self.snapshot)
        return self.snapshot

    async def upstream(self, name: str, port: int = 0) -> int:
        """Start a real app process that calls itself ``name``; returns its port."""
        port = port or free_port()
        process = await asyncio.create_subprocess_exec(
            sys.executable, str(UPSTREAM), name, str(port)
        )
        self.processes[name] = process
        async with asyncio.timeout(10):
            while not _accepts(port):
                await asyncio.sleep(0.01)
        return port

    async def pages(self) -> None:
        """Start a process in the place of the mesh's pages."""
        self.processes["pages"] = await asyncio.create_subprocess_exec(
            sys.executable, str(UPSTREAM), "pages", self.ingress.pages_socket
        )
        async with asyncio.timeout(10):
            while not Path(self.ingress.pages_socket).exists():
                await asyncio.sleep(0.01)

    async def kill(self, name: str) -> None:
        self.processes[name].send_signal(signal.SIGKILL)
        await self.processes[name].wait()

    def log(self) -> str:
        return (self.folder / "envoy.log").read_text()

    async def close(self) -> None:
        for process in [*self.processes.values(), *([self.envoy] if self.envoy else [])]:
            if process.returncode is None:
                process.kill()
                await process.wait()
        await self.stop_ads()


@contextlib.asynccontextmanager
async def rig() -> AsyncIterator[Rig]:
    """A rig in a short folder (Unix paths end at 107 bytes), gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="callmesh-envoy-"))
    try:
        async with asyncio.TaskGroup() as group:
            own = Rig(folder, group)
            try:
                yield own
            finally:
                await own.close()
    finally:
        shutil.rmtree(folder)


async def until_200(url: str, *, within: float = 5.0, **options: Any) -> float:
    """Call until the answer is 200; returns the seconds that took."""
    # A client takes 20 ms to make, and must not keep a connection.
    no_pool = httpx.Limits(max_keepalive_connections=0)
    async with httpx.AsyncClient(limits=no_pool) as client, asyncio.timeout(within):
        began = time.perf_counter()
        while True:
            with contextlib.suppress(httpx.TransportError):
                if (await client.get(url, **options)).status_code == 200:
                    return time.perf_counter() - began
            await asyncio.sleep(0.002)


def _accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
