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
from callmesh_agent.core.state import BASE, Instance, Pool
from callmesh_agent.probe import labels_of
from callmesh_agent.workspace import Workspace
from callmesh_wire.errors import FailedPreconditionError
from callmeshpb.v1 import node_pb2, scheduler_pb2, supervisor_pb2, workload_pb2


class Starts:
    """Builds start requests, and puts the files that they need in place."""

    def __init__(self, settings: AgentSettings, workspace: Workspace) -> None:
        self._settings = settings
        self._workspace = workspace
        self._base = environment.of_node(settings, os.environ)
        self.base_hash = base_hash(settings)

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
                folder = secrets_dir / "parameters"
                parameters[each.name] = await self._workspace.place(
                    each.blob, each.name, each.mount, folder, Path(each.file_name).name
                )
        directory = self._workspace.directory(spec.code)
        request = supervisor_pb2.StartProcess(
            process_id=instances.PREFIX + instance.id,
            spec_hash=instance.spec_hash,
            environment=environment.of_instance(self._base, desired, parameters, secrets_dir),
            directory=directory,
            log_path=str(self.instance_log(instance.id)),
            labels=_instance_labels(desired),
        )
        if spec.kind == scheduler_pb2.APP_KIND_COMMAND:
            request.argv.extend(environment.command_line(spec))
            request.pick_port = True
            return request
        start = workload_pb2.AppStart(instance_id=instance.id, code=spec.code, listen_fd=-1)
        request.listen = spec.kind == scheduler_pb2.APP_KIND_ASGI
        request.pick_port = not request.listen
        self._fork_or_spawn(
            request, workload_pb2.WorkloadStart(app=start), zygote, "callmesh.serve"
        )
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
        self._fork_or_spawn(
            request, workload_pb2.WorkloadStart(worker=start), zygote, "callmesh.execute"
        )
        return request

    def base_zygote(self) -> supervisor_pb2.StartProcess:
        """The zygote that knows no user code."""
        return supervisor_pb2.StartProcess(
            process_id=zygotes.PREFIX + BASE,
            spec_hash=self.base_hash,
            argv=[self._settings.python, "-m", "callmesh._zygote"],
            environment=self._base,
            log_path=str(self.zygote_log(BASE)),
            labels={"base": self.base_hash},
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
        self._fork_or_spawn(
            request, workload_pb2.WorkloadStart(zygote=start), parent, "callmesh._zygote"
        )
        return request

    def secrets_of_instance(self, instance_id: str) -> Path:
        """Its secret files and parameters; removed when it ends."""
        return self._settings.secrets_dir / f"app-{instance_id}"

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
        return environment.of_pool(self._base, pool.recipe, self.secrets_of_pool(pool.key))

    def _pool_labels(self, pool: Pool) -> dict[str, str]:
        return {
            "pool": pool.key,
            "base": self.base_hash,
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
        module: str,
    ) -> None:
        start.directory = request.directory
        request.start = start.SerializeToString()
        if zygote:
            request.zygote = zygotes.PREFIX + zygote
        else:
            request.argv.extend([self._settings.python, "-m", module])


def _instance_labels(desired: node_pb2.DesiredInstance) -> dict[str, str]:
    instance = desired.instance
    return {
        "project": instance.project,
        "domain": instance.domain,
        "app": instance.app,
        "revision": str(instance.revision),
        "fence": f"{instance.fence.epoch}.{instance.fence.counter}",
        **labels_of(desired.spec),
    }


def base_hash(settings: AgentSettings) -> str:
    """Changes when what a base zygote has in memory is no longer what is installed."""
    seen = hashlib.sha256(f"{settings.python} {settings.version}".encode())
    package = util.find_spec("callmesh")
    for folder in package.submodule_search_locations or () if package else ():
        for path in sorted(Path(folder).glob("*.py")):
            seen.update(f"{path.name} {path.stat().st_mtime_ns}".encode())
    return seen.hexdigest()[:16]
