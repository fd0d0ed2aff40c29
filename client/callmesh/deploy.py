"""`deploy`: record environments in the mesh, and a handle that watches them start."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from callmesh import _deploying, _notices, graph, settings
from callmesh._sync import method, verb
from callmesh.app.environment import AppEnvironment
from callmesh.bundle import CopyStyle
from callmesh.environment import Environment, TaskEnvironment
from callmesh.errors import BaseRuntimeError, DeploymentError
from callmesh.remote import _watching
from callmesh.remote.app import App, failure_text
from callmesh.remote.task import Task
from callmesh_wire.errors import CallmeshError, DeadlineError, UnavailableError
from callmeshpb.v1 import common_pb2, scheduler_pb2

# Seconds from start to ready, where an app does not set its own limit.
STARTUP_LIMIT = 60.0
# What neither a deploy nor time can do anything about.
_HOPELESS = "Unsuitable"
# What a deploy itself can do nothing about, and time alone may not.
_FOR_OTHERS_TO_END = frozenset({"Unschedulable", "DependencyMissing"})


@dataclass(frozen=True, slots=True)
class Progress:
    """One thing that happened to an app while it starts.

    ``app`` is empty for what concerns the connection ("reconnecting").
    """

    app: str
    state: str
    message: str


OnProgress = Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class DeployedAppEnvironment:
    """An app's environment and its record."""

    env: AppEnvironment
    deployed_app: App

    @property
    def name(self) -> str:
        """The app's name."""
        return self.env.name

    @property
    def url(self) -> str:
        """Where a browser calls it."""
        return self.deployed_app.url


@dataclass(frozen=True, slots=True)
class DeployedTaskEnvironment:
    """A task environment and the records of its tasks."""

    env: TaskEnvironment
    deployed_entities: Sequence[Task]

    @property
    def name(self) -> str:
        """The environment's name."""
        return self.env.name


Deployed = DeployedAppEnvironment | DeployedTaskEnvironment


@dataclass(frozen=True)
class Deployment:
    """What was deployed for one environment: itself and what it depends on.

    The record is kept by the mesh; `wait` says when the apps take calls.
    ``notices`` were said to the user already.
    """

    envs: Mapping[str, Deployed]
    root: Environment
    version: str
    notices: Sequence[str] = field(default=())

    @property
    def url(self) -> str:
        """Where a browser calls the app; "" where only tasks were deployed."""
        return self._app.url if self._app else ""

    @property
    def endpoint(self) -> str:
        """Where code calls the app; "" where only tasks were deployed."""
        return self._app.endpoint if self._app else ""

    @property
    def apps(self) -> list[App]:
        """The apps, each after those that it depends on."""
        return [
            each.deployed_app
            for each in self.envs.values()
            if isinstance(each, DeployedAppEnvironment)
        ]

    @method
    async def wait(
        self, timeout: float | None = None, progress: OnProgress | None = None
    ) -> Deployment:
        """Wait until every app of this deployment takes calls.

        ``progress`` is told each change of state. Raises `DeploymentError` with
        the reason as soon as one fails, `DeadlineError` after ``timeout``
        seconds.
        """
        await wait_for_apps(self.apps, timeout, progress)
        return self

    def table_repr(self) -> list[list[tuple[str, str]]]:
        """One row a deployed object, as pairs of column and text."""
        rows: list[list[tuple[str, str]]] = []
        for each in self.envs.values():
            if isinstance(each, DeployedAppEnvironment):
                app = each.deployed_app
                rows.append(
                    [
                        ("type", "App"),
                        ("name", app.name),
                        ("version", self.version),
                        ("revision", str(app.revision)),
                        ("url", app.url),
                    ]
                )
            else:
                rows += [
                    [("type", "Task"), ("name", task.name), ("version", task.version)]
                    for task in each.deployed_entities
                ]
        return rows

    def env_repr(self) -> list[list[tuple[str, str]]]:
        """One row an environment."""
        return [[("environment", name)] for name in self.envs]

    def summary_repr(self) -> str:
        """One line."""
        listed = ", ".join(f"`{name}`" for name in self.envs)
        return f"Deployment(version={self.version}, environments: {listed})"

    @property
    def _app(self) -> App | None:
        root = self.envs.get(self.root.name)
        if isinstance(root, DeployedAppEnvironment):
            return root.deployed_app
        return self.apps[-1] if self.apps else None

    def __repr__(self) -> str:
        return self.summary_repr()


@verb
async def deploy(
    *envs: Environment,
    dry_run: bool = False,
    version: str | None = None,
    interactive_mode: bool | None = None,
    copy_style: CopyStyle = "loaded_modules",
    dryrun: bool | None = None,
    project: str | None = None,
    domain: str | None = None,
) -> list[Deployment]:
    """Record environments, and all that they depend on, in the mesh: all or none.

    Returns once that is durable, with one `Deployment` for each environment
    that was named; apps start afterwards (`Deployment.wait`). With ``dry_run``
    everything is checked and nothing is sent. Raises `DeploymentError`, and
    `InitializationError` without a mesh.
    """
    del interactive_mode
    options = _deploying.Options(
        project=project or "",
        domain=domain or "",
        version=version or "",
        copy_style=copy_style,
    )
    return await deploy_with(envs, options, dry_run=dry_run or bool(dryrun))


async def deploy_with(
    envs: Sequence[Environment], options: _deploying.Options, *, dry_run: bool = False
) -> list[Deployment]:
    """`deploy` with its options bundled. For code on the bridge's loop."""
    if not envs:
        raise DeploymentError("nothing was named to be deployed: name at least one environment")
    if not dry_run:
        settings.needs_mesh()
    with _as_deployment_errors():
        prepared = await _deploying.prepare(envs, options)
        if dry_run:
            answer = _imagined(prepared.request)
        else:
            answer = await _deploying.send(prepared)
    notices = [*prepared.notices, *answer.notices]
    _notices.say(notices)
    found = _deployed(prepared, answer)
    return [
        Deployment(
            envs={each.name: found[each] for each in graph.order([root])},
            root=root,
            version=prepared.request.version,
            notices=tuple(notices),
        )
        for root in dict.fromkeys(envs)
    ]


async def wait_for_apps(
    apps: Sequence[App], timeout: float | None = None, progress: OnProgress | None = None
) -> None:
    """Wait until apps take calls in the revisions that they were deployed in, or newer ones."""
    tell = progress or _tell_nobody
    try:
        async with asyncio.timeout(timeout), asyncio.TaskGroup() as group:
            for app in apps:
                group.create_task(_until_ready(app, tell))
    except TimeoutError:
        names = ", ".join(f"`{app.name}`" for app in apps if not app.is_active())
        raise DeadlineError(f"not ready within {timeout:g} s: {names}") from None
    except BaseExceptionGroup as group_error:
        raise group_error.exceptions[0] from None


async def _until_ready(app: App, tell: OnProgress) -> None:
    revision, scope = app.revision, app._scope
    last: tuple[str, str] | None = None

    def on_away(problem: UnavailableError) -> None:
        tell(Progress("", "reconnecting", problem.message))

    try:
        async with asyncio.timeout(None) as patience:
            async for answer in _watching.app_states(scope, app.name, on_away):
                if answer.deleted:
                    raise DeploymentError(f"app `{app.name}` was deleted while it was deployed")
                app.pb2 = answer.app
                message = progress_text(answer.app)
                if (app.state, message) != last:
                    last = (app.state, message)
                    tell(Progress(app.name, app.state, message))
                if _is_settled(answer.app, revision):
                    return
                _wait_for_others(patience, answer.app)
    except TimeoutError:
        raise DeploymentError(
            f"app `{app.name}` {progress_text(app.pb2)}; it is kept, and starts once that changes"
        ) from None


def _wait_for_others(patience: asyncio.Timeout, app: scheduler_pb2.App) -> None:
    """Let a wait that somebody else has to end last as long as a start may, from now on."""
    progress = next((each for each in app.conditions if each.type == "Progressing"), None)
    if progress is not None and progress.reason == _HOPELESS:
        raise TimeoutError
    if progress is None or progress.reason not in _FOR_OTHERS_TO_END:
        patience.reschedule(None)
    elif patience.when() is None:
        limit = app.spec.timeouts.startup.ToTimedelta().total_seconds() or STARTUP_LIMIT
        patience.reschedule(asyncio.get_running_loop().time() + limit)


def _is_settled(app: scheduler_pb2.App, revision: int) -> bool:
    """It takes calls. Raises `DeploymentError` when it never will."""
    if app.serving_revision >= revision and app.state == scheduler_pb2.APP_STATE_READY:
        return True
    if app.deleting or app.desired_state == scheduler_pb2.DESIRED_STATE_INACTIVE:
        return True
    if app.revision > revision:
        raise DeploymentError(
            f"app `{app.spec.name}` revision {revision} was replaced by revision {app.revision} "
            "before it was ready"
        )
    if app.state == scheduler_pb2.APP_STATE_FAILED:
        raise DeploymentError(failure_text(app))
    return False


def progress_text(app: scheduler_pb2.App) -> str:
    """Why an app is not ready yet, in one line; "" when there is nothing to say."""
    conditions = {each.type: each for each in app.conditions}
    for kind in ("DependenciesReady", "Progressing", "Ready"):
        found = conditions.get(kind)
        if found is not None and found.message and found.status != common_pb2.CONDITION_STATUS_TRUE:
            return found.message
    told = [each.status.message for each in app.instances if each.status.message]
    return told[0] if told else ""


def _deployed(
    prepared: _deploying.Prepared, answer: scheduler_pb2.DeployResponse
) -> dict[Environment, Deployed]:
    apps = {each.spec.name: each for each in answer.apps}
    found: dict[Environment, Deployed] = {}
    for each in prepared.environments:
        if isinstance(each, AppEnvironment):
            found[each] = DeployedAppEnvironment(each, App(apps[each.name]))
        elif isinstance(each, TaskEnvironment):
            tasks = [Task(task) for task in answer.tasks if task.environment.name == each.name]
            found[each] = DeployedTaskEnvironment(each, tasks)
    return found


def _imagined(request: scheduler_pb2.DeployRequest) -> scheduler_pb2.DeployResponse:
    """What a dry run shows: the request's own content."""
    answer = scheduler_pb2.DeployResponse(
        apps=[scheduler_pb2.App(spec=spec) for spec in request.apps]
    )
    for environment in request.task_environments:
        for spec in environment.tasks:
            answer.tasks.append(scheduler_pb2.Task(environment=environment, spec=spec))
    return answer


@contextlib.contextmanager
def _as_deployment_errors() -> Iterator[None]:
    """What the mesh refuses is a `DeploymentError`; that it is away stays what it is."""
    try:
        yield
    except (UnavailableError, BaseRuntimeError):
        raise
    except CallmeshError as problem:
        raise DeploymentError(problem.message) from problem


def _tell_nobody(_: Progress) -> None:
    return None
