"""What the supervisor is asked to start: one request per kind of process."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from importlib import util
from pathlib import Path

from callmesh_agent import environment, ports
from callmesh_agent.config import AgentSettings
from callmesh_agent.core import instances, workers, zygotes
from callmesh_agent.core.environments import key_of
from callmesh_agent.core.state import Instance, Pool
from callmesh_agent.environments import Environments
from callmesh_agent.inbound_ports import InboundPorts
from callmesh_agent.probe import labels_of
from callmesh_agent.workspace import Workspace
from callmesh_wire.errors import FailedPreconditionError
from callmesh_wire.names import AppName
from callmeshpb.v1 import common_pb2, node_pb2, scheduler_pb2, supervisor_pb2, workload_pb2


class Starts:
    """Builds start requests, and puts the files that they need in place."""

    def __init__(
        self,
        settings: AgentSettings,
        workspace: Workspace,
        environments: Environments,
        installation: str,
    ) -> None:
        self._settings = settings
        self._workspace = workspace
        self._environments = environments
        self._installation = installation
        self._of_node = environment.of_node(settings, os.environ)
        self.base_hash = base_hash(settings)
        self.inbound = InboundPorts(settings.address)

    async def instance(
        self, instance: Instance, zygote: str, endpoints: Mapping[str, str]
    ) -> supervisor_pb2.StartProcess:
        """An app instance. Raises `CallmeshError` or OSError where it cannot be started."""
        assert instance.desired is not None
        desired, spec = instance.desired, instance.desired.spec
        port = environment.hard_coded_port(spec)
        if port and (holder := ports.holder(port)) is not None:
            raise FailedPreconditionError(
                f"port {port}, which its command names, is held by {holder}: end that, or "
                "write `$PORT` in the command"
            )
        secrets_dir = self.secrets_of_instance(instance.id)
        environment.place_secrets(secrets_dir, desired.secret_files)
        parameters = environment.endpoint_parameters(spec, endpoints, self._settings.ingress_port)
        for each in spec.parameters:
            if each.WhichOneof("value") == "blob":
                folder = self.parameters_of_instance(instance.id)
                parameters[each.name] = await self._workspace.place(
                    each.blob, each.name, each.mount, folder, Path(each.file_name).name
                )
        directory = self._workspace.directory(spec.code)
        key = self._key(spec.image)
        inbound = self.inbound.give(instance.id)
        request = supervisor_pb2.StartProcess(
            process_id=instances.PREFIX + instance.id,
            spec_hash=instance.spec_hash,
            environment=environment.of_instance(self._base(key), desired, parameters, secrets_dir),
            directory=directory,
            log_path=str(self.instance_log(instance.id)),
            labels={
                **_instance_labels(desired),
                **({"inbound": str(inbound)} if inbound else {}),
                "bundle": spec.code.bundle,
                "python": key,
            },
        )
        workdir = _workdir(directory, spec.image)
        if spec.kind == scheduler_pb2.APP_KIND_COMMAND:
            request.argv.extend(environment.command_line(spec))
            request.directory = workdir or directory
            request.pick_port = True
            return request
        start = workload_pb2.AppStart(instance_id=instance.id, code=spec.code, listen_fd=-1)
        request.listen = spec.kind == scheduler_pb2.APP_KIND_ASGI
        request.pick_port = not request.listen
        begin = workload_pb2.WorkloadStart(app=start, workdir=workdir)
        self._fork_or_spawn(request, begin, zygote, key, "callmesh.serve")
        return request

    def worker(self, worker_id: str, pool: Pool, zygote: str) -> supervisor_pb2.StartProcess:
        """A task worker of a pool."""
        recipe = pool.recipe
        variables = self._pool_variables(pool)
        variables["CALLMESH_WORKER_ID"] = worker_id
        request = supervisor_pb2.StartProcess(
            process_id=workers.PREFIX + worker_id,
            spec_hash=pool.key,
            environment=variables,
            directory=self._workspace.directory(recipe.code),
            log_path=str(self.worker_log(worker_id)),
            labels=self._pool_labels(pool),
        )
        start = workload_pb2.WorkerStart(worker_id=worker_id, code=recipe.code)
        workdir = _workdir(request.directory, recipe.image)
        begin = workload_pb2.WorkloadStart(worker=start, workdir=workdir)
        self._fork_or_spawn(request, begin, zygote, self._key(recipe.image), "callmesh.execute")
        return request

    def base_zygote(self, zygote_id: str, key: str) -> supervisor_pb2.StartProcess:
        """The zygote of an environment that knows no user code."""
        return supervisor_pb2.StartProcess(
            process_id=zygotes.PREFIX + zygote_id,
            spec_hash=self.base_hash,
            argv=[self._environments.python(key), "-m", "callmesh._zygote"],
            environment=self._base(key),
            log_path=str(self.zygote_log(zygote_id)),
            labels={"base": self.base_hash, "python": key},
            is_zygote=True,
        )

    def zygote(self, zygote_id: str, pool: Pool, parent: str) -> supervisor_pb2.StartProcess:
        """A pool's zygote, which imports the user's module."""
        environment.place_secrets(self.secrets_of_pool(pool.key), pool.recipe.secret_files)
        request = supervisor_pb2.StartProcess(
            process_id=zygotes.PREFIX + zygote_id,
            spec_hash=pool.key,
            environment=self._pool_variables(pool),
            directory=self._workspace.directory(pool.recipe.code),
            log_path=str(self.zygote_log(zygote_id)),
            labels=self._pool_labels(pool),
            is_zygote=True,
        )
        start = workload_pb2.ZygoteStart(code=pool.recipe.code)
        workdir = _workdir(request.directory, pool.recipe.image)
        begin = workload_pb2.WorkloadStart(zygote=start, workdir=workdir)
        self._fork_or_spawn(
            request, begin, parent, self._key(pool.recipe.image), "callmesh._zygote"
        )
        return request

    def secrets_of_instance(self, instance_id: str) -> Path:
        """Its secret files; removed when it ends."""
        return self._settings.secrets_dir / f"app-{instance_id}"

    def parameters_of_instance(self, instance_id: str) -> Path:
        """Files that are its parameters; removed when it ends."""
        return self._settings.parameters_dir / instance_id

    def secrets_of_pool(self, pool: str) -> Path:
        """The secret files of a pool's workers."""
        return self._settings.secrets_dir / f"pool-{pool}"

    def instance_log(self, instance_id: str) -> Path:
        """What an instance writes."""
        return self._settings.logs_dir / "app" / f"{instance_id}.log"

    def worker_log(self, worker_id: str) -> Path:
        """What a worker writes, attempt after attempt."""
        return self._settings.logs_dir / "worker" / f"{worker_id}.log"

    def zygote_log(self, zygote_id: str) -> Path:
        """What a zygote's imports write."""
        return self._settings.logs_dir / "zygote" / f"{zygote_id}.log"

    def _pool_variables(self, pool: Pool) -> dict[str, str]:
        base = self._base(self._key(pool.recipe.image))
        return environment.of_pool(base, pool.recipe, self.secrets_of_pool(pool.key))

    def _key(self, image: common_pb2.Image) -> str:
        return key_of(image, self._installation)

    def _base(self, key: str) -> dict[str, str]:
        folder = self._environments.folder(key) if key else None
        return environment.in_environment(self._of_node, folder)

    def _pool_labels(self, pool: Pool) -> dict[str, str]:
        return {
            "pool": pool.key,
            "base": self.base_hash,
            "bundle": pool.recipe.code.bundle,
            "python": self._key(pool.recipe.image),
            "project": pool.recipe.project,
            "domain": pool.recipe.domain,
            "environment": pool.recipe.environment,
            "version": pool.recipe.version,
        }

    def _fork_or_spawn(
        self,
        request: supervisor_pb2.StartProcess,
        start: workload_pb2.WorkloadStart,
        zygote: str,
        key: str,
        module: str,
    ) -> None:
        start.directory = request.directory
        request.start = start.SerializeToString()
        if zygote:
            request.zygote = zygotes.PREFIX + zygote
        else:
            request.argv.extend([self._environments.python(key), "-m", module])


def _instance_labels(desired: node_pb2.DesiredInstance) -> dict[str, str]:
    instance = desired.instance
    name = AppName(instance.project, instance.domain, instance.app)
    return {
        "project": instance.project,
        "domain": instance.domain,
        "app": instance.app,
        "mesh_name": name.mesh_name,
        "revision": str(instance.revision),
        "fence": f"{instance.fence.epoch}.{instance.fence.counter}",
        **labels_of(desired.spec),
    }


def _workdir(directory: str, image: common_pb2.Image) -> str:
    """An image's working directory on this node; "" where it names none.

    One inside the code is made where it is missing; one of the node's has to exist.
    """
    if not image.workdir:
        return ""
    place = Path(directory, image.workdir)
    if not Path(image.workdir).is_absolute() and ".." not in place.parts:
        place.mkdir(parents=True, exist_ok=True)
    if not place.is_dir() or not os.access(place, os.X_OK):
        raise FailedPreconditionError(
            f"the image's working directory `{image.workdir}` is none that this node has and may "
            "be entered: make it, or name one relative to the code"
        )
    return str(place)


def base_hash(settings: AgentSettings) -> str:
    """Changes when what a base zygote has in memory is no longer what is installed."""
    seen = hashlib.sha256(f"{settings.python} {settings.version}".encode())
    package = util.find_spec("callmesh")
    for folder in package.submodule_search_locations or () if package else ():
        for path in sorted(Path(folder).glob("*.py")):
            seen.update(f"{path.name} {path.stat().st_mtime_ns}".encode())
    return seen.hexdigest()[:16]
