"""Deploy: a set of environments, checked as a whole, recorded in one transaction."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from callmesh_server.api import dependencies, specs
from callmesh_server.api.addresses import Addresses
from callmesh_server.api.caller import Caller
from callmesh_server.api.idempotency import Requests
from callmesh_server.api.validate import Problems, scope_of
from callmesh_server.apply import Applier
from callmesh_server.core import revisions
from callmesh_server.core.actions import PutApp
from callmesh_server.core.times import stamp
from callmesh_server.live import Live
from callmesh_server.mesh_ports import MeshPorts
from callmesh_server.store.blobs import Blobs
from callmesh_server.store.secrets import Secrets, secret_name
from callmesh_wire.errors import AlreadyExistsError, FailedPreconditionError
from callmesh_wire.names import AppName
from callmeshpb.v1 import scheduler_pb2

if TYPE_CHECKING:
    from callmesh_server.store.database import Database

MAX_ENVIRONMENTS = 500


@dataclass(frozen=True, slots=True)
class _Plan:
    """A request whose every environment has its scope and version."""

    apps: dict[AppName, scheduler_pb2.AppSpec] = field(default_factory=dict)
    environments: list[scheduler_pb2.TaskEnvironmentSpec] = field(default_factory=list)
    ephemeral: bool = False

    def all(self) -> list[dependencies.Specs]:
        return [*self.apps.values(), *self.environments]


class DeployApi:
    """SchedulerService.Deploy."""

    def __init__(
        self,
        live: Live,
        database: Database,
        applier: Applier,
        requests: Requests,
        ports: MeshPorts,
        blobs: Blobs,
        secrets: Secrets,
        addresses: Addresses,
    ) -> None:
        self._live = live
        self._database = database
        self._applier = applier
        self._requests = requests
        self._ports = ports
        self._blobs = blobs
        self._secrets = secrets
        self._addresses = addresses
        # One deploy at a time compares with the stored versions.
        self._lock = asyncio.Lock()

    async def deploy(
        self, request: scheduler_pb2.DeployRequest, _caller: Caller
    ) -> scheduler_pb2.DeployResponse:
        """Record a set of environments, or none of it."""

        async def change() -> scheduler_pb2.DeployResponse:
            plan = self._plan(request)
            self._check_needs(plan)
            tasks = await self._tasks(plan)
            return self._record(plan, tasks)

        async with self._lock:
            return await self._requests.once(
                request.request_id, "Deploy", scheduler_pb2.DeployResponse, change
            )

    def _plan(self, request: scheduler_pb2.DeployRequest) -> _Plan:
        problems = Problems()
        project, domain = scope_of(request.scope, problems)
        count = len(request.apps) + len(request.task_environments)
        if not 1 <= count <= MAX_ENVIRONMENTS:
            problems.add(f"a deploy must have 1 to {MAX_ENVIRONMENTS} environments, not {count}")
        problems.raise_if_any()
        plan = _Plan(ephemeral=request.ephemeral)
        names = set()
        every: list[dependencies.Specs] = [*request.apps, *request.task_environments]
        for given in every:
            spec = _scoped(given, project, domain, request.version)
            key = (spec.project, spec.domain, spec.name)
            if key in names:
                problems.add(f"two environments of this deploy are called `{spec.name[:70]}`")
            names.add(key)
            if isinstance(spec, scheduler_pb2.AppSpec):
                specs.check_app_spec(spec, problems)
                plan.apps[AppName(*key)] = spec
            else:
                specs.check_task_environment(spec, problems)
                plan.environments.append(spec)
        self._check_graph(plan, problems)
        problems.raise_if_any()
        return plan

    def _check_graph(self, plan: _Plan, problems: Problems) -> None:
        existing = {name: a for name, a in self._live.world.apps.items() if not a.deleting}
        for sentence in dependencies.unknown(plan.all(), plan.apps, existing):
            problems.add(sentence)
        edges = {
            name: [AppName(s.project, s.domain, each) for each in s.depends_on]
            for name, s in {**{n: a.spec for n, a in existing.items()}, **plan.apps}.items()
        }
        around = dependencies.cycle(edges)
        if around:
            names = " → ".join(each.name for each in around)
            problems.add(f"apps depend on each other in a circle: {names}; remove one `depends_on`")
        for name, spec in plan.apps.items():
            if name in self._live.world.externals:
                problems.add(
                    f"app `{name.name}`: {name.project}/{name.domain} has a registered service of "
                    "that name: choose another, or deregister it"
                )
            for sentence in self._domain_conflicts(spec, name, plan):
                problems.add(sentence)

    def _domain_conflicts(
        self, spec: scheduler_pb2.AppSpec, name: AppName, plan: _Plan
    ) -> Iterable[str]:
        """Host names that two apps would have; each app also has its own under `.localhost`."""
        own = f"{name.mesh_name}.localhost"
        others = {n: a.spec for n, a in self._live.world.apps.items()} | plan.apps
        for other, theirs in others.items():
            if other == name:
                continue
            if spec.custom_domain and spec.custom_domain in (
                theirs.custom_domain,
                f"{other.mesh_name}.localhost",
            ):
                yield (
                    f"app `{name.name}`: host name `{spec.custom_domain}` of its `domain` is app "
                    f"`{other}`'s: choose another"
                )
            if theirs.custom_domain == own:
                yield (
                    f"app `{name.name}`: its host name `{own}` is the `domain` of app `{other}`: "
                    "rename one of them"
                )

    def _check_needs(self, plan: _Plan) -> None:
        """What must be there already: bundles and secrets."""
        problems = []
        for spec in plan.all():
            bundle = spec.code.bundle
            if bundle and not self._blobs.claim(bundle):
                problems.append(
                    f"`{spec.name}`: its code `{bundle[:12]}…` is not on the server: "
                    "upload it before the deploy"
                )
            for ref in spec.secrets:
                if not self._secrets.has(spec.project, spec.domain, secret_name(ref)):
                    problems.append(
                        f"`{spec.name}` needs secret `{secret_name(ref)}`, which "
                        f"{spec.project}/{spec.domain} does not have: make it with "
                        f"`callmesh create secret {secret_name(ref)}`"
                    )
        if problems:
            raise FailedPreconditionError("\n".join(dict.fromkeys(problems)))

    async def _tasks(self, plan: _Plan) -> list[tuple[scheduler_pb2.Task, bool]]:
        """Every task of the plan, and whether it has to be written."""
        tasks: list[tuple[scheduler_pb2.Task, bool]] = []
        taken = []
        now = stamp(time.time())
        for environment in plan.environments:
            stored = {
                task.spec.name: task
                for task in await self._database.tasks(
                    environment.project, environment.domain, version=environment.version
                )
            }
            for task in _split(environment, ephemeral=plan.ephemeral):
                task.created_at.CopyFrom(now)
                before = stored.get(task.spec.name)
                if before is None or _same_content(before, task):
                    known = before is not None and plan.ephemeral
                    tasks.append((before if known and before is not None else task, not known))
                elif before.ephemeral:
                    tasks.append((task, True))
                else:
                    taken.append(task.spec.name)
        if taken:
            names = ", ".join(f"`{name}`" for name in taken)
            version = plan.environments[0].version
            raise AlreadyExistsError(
                f"{names} exists in version `{version}` with other content: choose another "
                "version, or leave it out to have it made from the content"
            )
        return tasks

    def _record(
        self, plan: _Plan, tasks: list[tuple[scheduler_pb2.Task, bool]]
    ) -> scheduler_pb2.DeployResponse:
        response = scheduler_pb2.DeployResponse()
        records = self._database.records
        for task, is_new in tasks:
            response.tasks.append(task)
            if is_new:
                key = f"task/{task.environment.project}/{task.environment.domain}/"
                key += f"{task.spec.name}/{task.environment.version}"
                self._applier.also(key, records.put_task(task))
                if task.ephemeral:
                    self._live.keep_task(task)
                else:
                    self._live.put_newest(task)
        for name, spec in plan.apps.items():
            before = self._live.world.apps.get(name)
            if plan.ephemeral and before is not None and not before.deleting:
                response.apps.append(before)
                continue
            response.apps.append(self._deploy_app(name, spec, before))
            response.notices.extend(revisions.notices(spec))
        return response

    def _deploy_app(
        self, name: AppName, spec: scheduler_pb2.AppSpec, before: scheduler_pb2.App | None
    ) -> scheduler_pb2.App:
        port, changes = self._ports.assign(name)
        app = revisions.deployed(before, spec, port, time.time())
        app.desired_state = scheduler_pb2.DESIRED_STATE_ACTIVE
        app.endpoint = self._addresses.endpoint(port)
        app.url = self._addresses.url(name)
        self._applier.also(f"port/{port}", changes)
        self._applier.perform([PutApp(app)])
        return app


def _scoped(
    given: dependencies.Specs, project: str, domain: str, version: str
) -> dependencies.Specs:
    """A copy that says its own scope and version."""
    spec: dependencies.Specs = (
        scheduler_pb2.AppSpec()
        if isinstance(given, scheduler_pb2.AppSpec)
        else scheduler_pb2.TaskEnvironmentSpec()
    )
    spec.MergeFrom(given)  # type: ignore[arg-type]
    spec.project = spec.project or project
    spec.domain = spec.domain or domain
    spec.version = spec.version or version
    return spec


def _split(
    environment: scheduler_pb2.TaskEnvironmentSpec, *, ephemeral: bool
) -> Iterable[scheduler_pb2.Task]:
    shared = scheduler_pb2.TaskEnvironmentSpec()
    shared.CopyFrom(environment)
    del shared.tasks[:]
    for spec in environment.tasks:
        yield scheduler_pb2.Task(environment=shared, spec=spec, ephemeral=ephemeral)


def _same_content(one: scheduler_pb2.Task, other: scheduler_pb2.Task) -> bool:
    return bool(one.spec == other.spec and one.environment == other.environment)
