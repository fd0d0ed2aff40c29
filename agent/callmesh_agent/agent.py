"""The composition root of a node: every part is built here, started in order, ended in reverse.

Order of a start: the supervisor and what lives from before; what is known of
the mesh, published before Envoy or a workload asks; what the server wanted
last; the session, which nothing else waits for; Envoy; and once all of that
answers, what makes the first deploy quick.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
from collections.abc import Callable

from callmesh_agent import environments, logs, spool
from callmesh_agent.blob_calls import BlobCalls
from callmesh_agent.blobs import Blobs
from callmesh_agent.conditions import Conditions
from callmesh_agent.config import AgentSettings
from callmesh_agent.core import events
from callmesh_agent.core.environments import key_of
from callmesh_agent.core.reports import inbound_port
from callmesh_agent.core.state import State
from callmesh_agent.dataplane import DataPlane
from callmesh_agent.driver import Driver, Parts
from callmesh_agent.heldview import HeldView
from callmesh_agent.kept import Kept
from callmesh_agent.link import Link
from callmesh_agent.logs import Logs
from callmesh_agent.outbox import Outbox
from callmesh_agent.proxy import PROCESS_ID, Proxy
from callmesh_agent.retention import Retention
from callmesh_agent.session import Session
from callmesh_agent.sizes import measure_workers
from callmesh_agent.socket import Around, WorkloadSocket
from callmesh_agent.starts import Starts, base_hash
from callmesh_agent.supervision import Supervision
from callmesh_agent.workspace import Workspace
from callmeshpb.v1 import node_pb2, supervisor_pb2

TAIL_LINES = 20
log = logging.getLogger("callmesh.agent")


class Agent:
    """One node's agent."""

    def __init__(self, settings: AgentSettings, link: Link) -> None:
        self._settings = settings
        installation = environments.installation()
        state = State(
            incarnation=secrets.token_hex(3),
            base_hash=base_hash(settings),
            installation=installation,
        )
        self._driver = Driver(state)
        self._group: asyncio.TaskGroup
        self._supervised = asyncio.Event()
        self._blobs = Blobs(settings.blobs_dir, settings.blobs_cap, link, self._blobs_in_use)
        workspace = Workspace(settings.bundles_dir, self._blobs)
        built = environments.Environments(settings.environments_dir, settings.python, os.environ)
        # Of methods: the session is made after what it tells.
        conditions = Conditions(
            lambda held: self._parts.session.report_conditions(held),
            lambda taken: self._parts.session.report_ports(taken),
        )
        kept = Kept(settings, conditions.keeping_problem)
        self._desired = kept.desired()
        supervision = Supervision(
            settings, self._deliver_process, self._log_tail, self._process_started
        )
        held = HeldView(kept)
        session = Session(
            settings,
            link,
            self._driver.deliver,
            held,
            self._follow_view,
            self._receive_logs,
            joined_before=self._desired is not None,
        )
        self._proxy = Proxy(settings, supervision, conditions)
        dataplane = DataPlane(settings, held, conditions, self._proxy.rejected)
        around = Around(
            node=settings.node,
            control=BlobCalls(link, self._blobs),
            identities=supervision.identities,
            deliver=self._driver.deliver,
            run_of=self._driver.run_of,
        )
        self._parts = Parts(
            settings=settings,
            workspace=workspace,
            environments=built,
            starts=Starts(settings, workspace, built, installation),
            supervision=supervision,
            kept=kept,
            dataplane=dataplane,
            session=session,
            socket=WorkloadSocket(settings.workload_socket, around),
            logs=Logs(settings.logs_dir),
        )
        self._retention = Retention(settings, workspace, built, self._blobs, session.report_storage)
        self._proxy.watch(dataplane)

    async def run(
        self, joined: Callable[[], None], serving: Callable[[], None] | None = None
    ) -> None:
        """Run until cancelled. Processes go on when this ends: they are the supervisor's.

        ``serving`` is called once Envoy answers, ``joined`` once the session is
        up as well; what ran before goes on without either.
        """
        parts = self._parts
        self._make_folders()
        async with asyncio.TaskGroup() as group:
            self._group = group
            self._driver.attach(parts, group)
            try:
                # Nobody can be heard before what lives is known: an exit or a
                # hello of a process that the core does not know would be lost.
                self._driver.deliver(events.SpoolRead(spool.read(self._settings.spool_dir)))
                group.create_task(parts.supervision.run())
                await self._supervised.wait()
                self._driver.trust(parts.dataplane.ready_here())
                parts.dataplane.open()
                self._driver.deliver(events.EndpointsChanged(parts.dataplane.endpoints))
                await _until_started(group, parts.dataplane.ads.run, parts.socket.run)
                self._remember()
                group.create_task(parts.kept.run())
                group.create_task(parts.session.run())
                group.create_task(parts.dataplane.report_views(parts.session.report_view))
                group.create_task(self._proxy.run())
                group.create_task(
                    measure_workers(parts.supervision.identities, self._driver.deliver)
                )
                group.create_task(self._retention.keep(self._in_use, self._discarded))
                await self._proxy.serving.wait()
                if serving is not None:
                    serving()
                await parts.session.opened.wait()
                joined()
                self._driver.deliver(events.Warmed())
                await asyncio.get_running_loop().create_future()
            finally:
                # Also of this agent: what only it knows is written down.
                self._driver.deliver(events.SessionClosed())
                self._driver.close()
                parts.kept.flush()

    def _remember(self) -> None:
        """Go on with what the server wanted last: it may be away."""
        ports = self._parts.dataplane.inbound_here()
        for instance in self._driver.state.instances.values():
            if instance.process is not None and (port := inbound_port(instance.process.labels)):
                ports[instance.id] = port
        self._parts.starts.inbound.remember(ports)
        if self._desired is not None:
            self._driver.deliver(events.DesiredRead(self._desired))
            self._desired = None

    def _make_folders(self) -> None:
        settings = self._settings
        for folder in (settings.logs_dir, settings.bundles_dir, settings.spool_dir):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        settings.envoy_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._blobs.find()

    def _deliver_process(self, event: events.Event) -> None:
        if isinstance(event, events.ProcessExited) and event.process.process_id == PROCESS_ID:
            self._proxy.exited(event.process)
            return
        self._driver.deliver(event)
        if isinstance(event, events.SupervisorConnected):
            self._supervised.set()
            self._proxy.supervised(event.processes)

    def _process_started(self, process: supervisor_pb2.Process) -> None:
        if process.process_id == PROCESS_ID:
            self._proxy.started(process)
        self._parts.socket.introduce()

    def _in_use(self) -> set[str]:
        """Names of logs, bundles and environments that belong to something that lives."""
        state = self._driver.state
        names = {*state.instances, *state.workers, *state.zygotes}
        names |= {each.environment for each in state.zygotes.values()}
        names.update(*(each.holds for each in state.workers.values()))
        for pool in state.pools.values():
            names |= {pool.recipe.code.bundle, key_of(pool.recipe.image, state.installation)}
        for instance in state.instances.values():
            if instance.desired is not None:
                spec = instance.desired.spec
                names |= {spec.code.bundle, key_of(spec.image, state.installation)}
            if instance.process is not None:
                # What it was started with, whatever is wanted of it.
                names |= {instance.process.labels[each] for each in ("bundle", "python")}
        return names

    def _blobs_in_use(self) -> set[str]:
        """Digests of the parameters of apps: they are started again without the server."""
        return {
            each.blob.digest
            for instance in self._driver.state.instances.values()
            if instance.desired is not None
            for each in instance.desired.spec.parameters
            if each.WhichOneof("value") == "blob"
        }

    def _discarded(self, keys: tuple[str, ...]) -> None:
        self._driver.deliver(events.Discarded(keys))

    def _log_tail(self, process: supervisor_pb2.Process) -> tuple[str, ...]:
        return logs.last_lines(process.log_path, process.log_start, TAIL_LINES)

    def _follow_view(self) -> None:
        self._driver.deliver(events.EndpointsChanged(self._parts.dataplane.follow_view()))

    def _receive_logs(self, message: node_pb2.ServerMessage, outbox: Outbox) -> None:
        if message.HasField("log"):
            self._parts.logs.open(self._group, message.log, outbox.put_chunk)
        else:
            self._parts.logs.cancel(message.log_cancel.stream_id)


async def _until_started(group: asyncio.TaskGroup, *runs: Callable[..., object]) -> None:
    for run in runs:
        is_up = asyncio.Event()
        group.create_task(run(is_up.set))  # type: ignore[arg-type]
        await is_up.wait()
