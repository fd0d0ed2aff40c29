"""The composition root: builds every part in order, runs them, ends them in reverse."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import grpc.aio

from callmesh_server import join, listen
from callmesh_server.api import node_door
from callmesh_server.api.about import AboutApi
from callmesh_server.api.addresses import Addresses
from callmesh_server.api.apps import AppApi
from callmesh_server.api.blob import BlobApi
from callmesh_server.api.caller import USER
from callmesh_server.api.deploy import DeployApi
from callmesh_server.api.idempotency import Requests
from callmesh_server.api.log import LogApi
from callmesh_server.api.nodes import NodesApi
from callmesh_server.api.pages import PagesApi
from callmesh_server.api.registry import RegistryApi
from callmesh_server.api.router import Router, is_bearer
from callmesh_server.api.runs import RunApi
from callmesh_server.api.secret import SecretApi
from callmesh_server.api.session import SessionApi
from callmesh_server.api.submissions import Submissions
from callmesh_server.api.tasks import TaskApi
from callmesh_server.apply import Applier
from callmesh_server.changes import Changes
from callmesh_server.collector import Collector
from callmesh_server.config import ServerSettings
from callmesh_server.core import liveness
from callmesh_server.core.actions import PutApp, PutInstance, PutNode, PutRun
from callmesh_server.core.ledger import Ledger
from callmesh_server.core.world import app_name
from callmesh_server.live import Live, key_of
from callmesh_server.logs import Logs
from callmesh_server.loop import Loop, ServerIds
from callmesh_server.mesh_ports import MeshPorts
from callmesh_server.port_moves import PortMoves
from callmesh_server.pushes import Pushes
from callmesh_server.routed import Routed
from callmesh_server.sessions import Sessions
from callmesh_server.store.blobs import Blobs
from callmesh_server.store.secrets import Secrets
from callmesh_wire.channel import new_node_server, new_server
from callmesh_wire.errors import CallmeshError, UnauthenticatedError, UnavailableError
from callmesh_wire.grpc_services import Services
from callmesh_wire.methods import methods
from callmeshpb.v1 import scheduler_pb2

if TYPE_CHECKING:
    from callmesh_server.store.database import Database

log = logging.getLogger(__name__)

# For calls in flight when the server ends, seconds.
STOP_GRACE = 0.5
EXPIRE_SECONDS = 3600.0


class Server:
    """One control plane. `run` it once; its parts exist once ``started`` was called."""

    router: Router
    sessions: Sessions
    parts: Parts
    # The TCP ports that the API listens on, and the one for nodes.
    api_port: int
    node_port: int = 0

    def __init__(self, settings: ServerSettings) -> None:
        self._settings = settings

    async def run(self, started: Callable[[], None]) -> None:
        """Serve until cancelled. ``started`` is called when every door is open.

        Raises `FailedPreconditionError` when it cannot start, and
        `UnavailableError` when the store cannot be written any more.
        """
        database = await self._open_database()
        try:
            await self._serve(database, started)
        except ExceptionGroup as group:
            raise _reason(group) from None
        finally:
            await database.close()

    async def _serve(self, database: Database, started: Callable[[], None]) -> None:
        async with asyncio.TaskGroup() as tasks:
            self.parts = Parts(self._settings, database, tasks)
            self.router, self.sessions = self.parts.router, self.parts.sessions
            await self.parts.secrets.load()
            servers = await self._listen()
            tasks.create_task(self.parts.loop.run())
            tasks.create_task(self.parts.expire_requests())
            tasks.create_task(self.parts.collector.run())
            tasks.create_task(_watch_store(database))
            log.info("serving, epoch %d", database.loaded.epoch)
            started()
            try:
                await asyncio.Event().wait()
            finally:
                await asyncio.gather(*(server.stop(STOP_GRACE) for server in servers))
                self.parts.close()

    def person_of(self, authorization: str) -> str:
        """Whose credentials these are, "user"; "" for none.

        Raises `UnauthenticatedError` for what this mesh did not give out.
        """
        if not authorization:
            return ""
        if not is_bearer(authorization, self._token):
            raise UnauthenticatedError(
                "these credentials are not known to the mesh: send `Authorization: Bearer TOKEN` "
                "with the content of the file `token` in the mesh's state folder"
            )
        return USER.label

    async def _open_database(self) -> Database:
        loop = asyncio.get_running_loop()

        def open_it() -> Database:
            from callmesh_server.store.opening import open_database

            return open_database(self._settings.database, loop)

        return await asyncio.to_thread(open_it)

    async def _listen(self) -> list[grpc.aio.Server]:
        settings = self._settings
        self._token = token = listen.read_token(settings.token_file)
        local, tcp = new_server(), new_server()
        names = {f"callmeshpb.v1.{method.service}" for method in methods().values()}
        more = Services(names).handlers()
        self.router.register(local, token=token, required=False, more=more)
        self.router.register(tcp, token=token, more=more)
        self.api_port = listen.bind_tcp(tcp, settings.api_host, settings.api_port)
        listen.bind_unix(local, settings.api_socket)
        servers = [local, tcp, *self._for_nodes()]
        for each in servers:
            await each.start()
        return servers

    def _for_nodes(self) -> list[grpc.aio.Server]:
        settings = self._settings
        if not settings.node_host:
            return []
        token, key = join.load(settings.join_token_file, settings.tls_key)
        server = new_node_server()
        world = self.parts.world
        self.router.register_nodes(
            server,
            token=token.secret,
            names=node_door.METHODS,
            caller_of=lambda method, context: node_door.caller_of(
                method, context, world, self.person_of
            ),
        )
        self.node_port = listen.bind_nodes(
            server,
            settings.node_host,
            settings.node_port,
            key=key,
            certificate=token.certificate.encode(),
        )
        return [server]


class Parts:
    """Everything between the store and the doors, in the order of its making."""

    def __init__(
        self, settings: ServerSettings, database: Database, tasks: asyncio.TaskGroup
    ) -> None:
        self.database = database
        spawn = tasks.create_task
        epoch = database.loaded.epoch
        addresses = Addresses(settings.ingress_port)
        changes = Changes()
        ledger = Ledger()
        self.world = world = ledger.world
        live = Live(ledger, changes, database)
        blobs = Blobs(settings.blobs)
        ports = MeshPorts(database)
        self.collector = Collector(live, database, blobs, settings.caps)
        self.secrets = Secrets(settings.secret_key, database)
        routed = Routed(world, changes, asyncio.get_running_loop().call_later)
        self.sessions = Sessions(
            ledger, spawn, routed=routed, epoch=epoch, lease=settings.lease_seconds
        )
        pushes = Pushes(world, self.sessions, self.secrets, changes, routed, epoch)
        applier = Applier(live, database, changes, self.sessions, self.secrets, ports.release)
        self.loop = Loop(world, applier, ServerIds(epoch), pushes.push, self.sessions.renew)
        applier.attach(self.loop)
        moves = PortMoves(world, ports, routed, addresses, applier)
        self.sessions.attach(self.loop.react, applier.flush, pushes, moves.refused)
        _restore(live, database, addresses, settings.lease_seconds)
        routed.restore()
        self._applier = applier
        self._requests = Requests(database, applier)
        self._registry = RegistryApi(
            ledger, database, applier, self._requests, changes, self.loop, ports, addresses
        )
        self.loop.mark(ledger.all_keys())
        task_api = TaskApi(live, database)
        submissions = Submissions(live, database, applier, task_api, blobs, addresses)
        nodes = NodesApi(world, changes, applier, self._requests)
        self.router = Router(
            {
                "RegistryService": [self._registry],
                "SchedulerService": [
                    DeployApi(
                        live, database, applier, self._requests, ports, blobs, self.secrets,
                        addresses,
                    ),
                    AppApi(world, changes, applier, self._requests, routed),
                    task_api,
                    RunApi(live, database, applier, self._requests, submissions, spawn),
                    nodes, AboutApi(settings, epoch),
                ],
                "NodeService": [
                    SessionApi(self.sessions), nodes, PagesApi(settings.pages_socket, spawn),
                ],
                "BlobService": [BlobApi(blobs)],
                "LogService": [LogApi(Logs(live, self.sessions, spawn))],
                "SecretService": [
                    SecretApi(database, self.secrets, applier, self._requests, self.loop, world)
                ],
            }
        )  # fmt: skip

    async def expire_requests(self) -> None:
        """Forget old answers, now and every hour."""
        while True:
            self._requests.expire()
            await asyncio.sleep(EXPIRE_SECONDS)

    def close(self) -> None:
        """Hand everything to the writer that it does not have yet."""
        self._registry.close()
        self._applier.flush_lazy()


def _restore(live: Live, database: Database, addresses: Addresses, lease: float) -> None:
    """Put what is stored into memory."""
    loaded = database.loaded
    now = time.time()
    for task in loaded.newest:
        live.put_newest(task)
    for app in loaded.apps:
        app.endpoint = addresses.endpoint(app.mesh_port)
        app.url = addresses.url(app_name(app))
        live.ledger.apply(PutApp(app))
    for instance in loaded.instances:
        live.ledger.apply(PutInstance(instance))
    tasks = {key_of(task): task for task in loaded.tasks}
    for run in loaded.runs:
        inputs = scheduler_pb2.Run(inputs=run.inputs)
        run.ClearField("inputs")
        run.url = addresses.run(run.name)
        live.restore_run(run, inputs, tasks, loaded.request_ids.get(run.name, ""))
        live.ledger.apply(PutRun(run))
    for node in loaded.nodes:
        live.ledger.apply(PutNode(liveness.remembered(node, now, lease)))


def _reason(group: ExceptionGroup) -> Exception:
    """The one error of a group that is for the user, or the group."""
    expected, rest = group.split(CallmeshError)
    if expected is None or rest is not None:
        return group
    first: Exception = expected
    while isinstance(first, ExceptionGroup):
        first = first.exceptions[0]
    return first


async def _watch_store(database: Database) -> None:
    reason = await database.writer.broken
    raise UnavailableError(f"the store cannot be written any more: {reason}")
