"""The node's Envoy: kept running by the supervisor, watched from here."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import signal
from collections.abc import Sequence

from callmesh_agent import envoy
from callmesh_agent.conditions import Conditions
from callmesh_agent.config import AgentSettings
from callmesh_agent.core.reports import describe_exit
from callmesh_agent.dataplane import DataPlane
from callmesh_agent.supervision import Supervision
from callmesh_agent.xds.rejections import Rejection
from callmesh_wire.backoff import Backoff
from callmesh_wire.diskfile import write_whole
from callmesh_wire.errors import CallmeshError
from callmeshpb.v1 import supervisor_pb2

PROCESS_ID = "envoy"
# Envoy says nothing when it begins to serve: it is asked, at first often.
LOOK = Backoff(base=0.005, factor=1.5, cap=0.25)
RETRY = Backoff(base=0.1, factor=2.0, cap=5.0)
log = logging.getLogger("callmesh.agent")


class Proxy:
    """One Envoy."""

    def __init__(
        self, settings: AgentSettings, supervision: Supervision, conditions: Conditions
    ) -> None:
        self._settings = settings
        self._supervision = supervision
        self._conditions = conditions
        self._dataplane: DataPlane | None = None
        self._running = False
        # Of what runs: another one than ours is of an older installation.
        self._spec_hash = ""
        self._changed = asyncio.Event()
        self._ended = asyncio.Event()
        self.serving = asyncio.Event()

    def watch(self, dataplane: DataPlane) -> None:
        """Name who knows which port a listener has."""
        self._dataplane = dataplane

    async def run(self) -> None:
        """Have it started, and say how it is, until cancelled."""
        failures = 0
        while True:
            self._changed.clear()
            try:
                await self._have_it_running()
                failures = 0
                await self._await_serving()
            except (CallmeshError, OSError) as problem:
                self._conditions.envoy_away(str(problem))
                log.warning("Envoy: %s", problem)
                await asyncio.sleep(RETRY.delay(failures))
                failures += 1
                continue
            await self._changed.wait()

    def supervised(self, processes: Sequence[supervisor_pb2.Process]) -> None:
        """A supervisor said what runs."""
        found = [p for p in processes if p.process_id == PROCESS_ID and p.running]
        self._running = bool(found)
        self._spec_hash = found[0].spec_hash if found else ""
        self._changed.set()

    def started(self, process: supervisor_pb2.Process) -> None:
        """It runs, for the first time or again."""
        self._running = True
        self._spec_hash = process.spec_hash
        self._changed.set()

    def exited(self, process: supervisor_pb2.Process) -> None:
        """It ended; the supervisor starts it again by itself, unless it was asked to end."""
        status = process.exit_status if process.HasField("exit_status") else None
        self.serving.clear()
        self._ended.set()
        self._conditions.envoy_away(f"Envoy ended with {describe_exit(status)}: see its log")
        log.warning("Envoy ended with %s", describe_exit(status))

    def rejected(self, rejections: list[Rejection]) -> None:
        """What clients of the ADS socket refuse now."""
        for each in rejections:
            log.warning("%s refused %s `%s`: %s", each.client, each.type, each.name, each.message)
        dataplane = self._dataplane
        self._conditions.rejected(rejections, dataplane.port_of if dataplane else lambda _: 0)

    async def _have_it_running(self) -> None:
        request = self._request()
        if self._running and self._spec_hash == request.spec_hash:
            return
        if self._running:
            self._ended.clear()
            await self._supervision.signal(PROCESS_ID, signal.SIGTERM, kill_after=2.0)
            await self._ended.wait()
            await self._supervision.forget(PROCESS_ID)
            self._running = False
        await self._supervision.start(request)

    def _request(self) -> supervisor_pb2.StartProcess:
        settings = self._settings
        binary = str(settings.envoy or envoy.find_binary())
        identity = envoy.EnvoyIdentity(
            node=settings.node,
            zone=settings.zone,
            ads_socket=str(settings.ads_socket),
            admin_socket=str(settings.envoy_admin_socket),
        )
        bootstrap = settings.envoy_dir / "bootstrap.json"
        content = json.dumps(envoy.bootstrap(identity), indent=1).encode()
        write_whole(bootstrap, content)
        argv = envoy.argv(binary, str(bootstrap))
        return supervisor_pb2.StartProcess(
            process_id=PROCESS_ID,
            spec_hash=hashlib.sha256(content + "\0".join(argv).encode()).hexdigest()[:16],
            argv=argv,
            environment={},
            directory=str(settings.envoy_dir),
            log_path=str(settings.logs_dir / "envoy.log"),
            restart=True,
        )

    async def _await_serving(self) -> None:
        looks = 0
        while not await envoy.ready(str(self._settings.envoy_admin_socket)):
            await asyncio.sleep(LOOK.delay(looks))
            looks += 1
        self._conditions.envoy_ready()
        self.serving.set()
