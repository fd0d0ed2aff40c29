"""The FastAPI app of a `FlyteWebhookAppEnvironment`: its routes, and errors as statuses."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import Body, Depends, FastAPI, HTTPException, Path, Query, Request
from fastapi.responses import JSONResponse

from callmesh import errors, settings
from callmesh.app.extras import _webhook_allowed as allowed
from callmesh.app.extras import _webhook_calls as calls
from callmesh.app.extras._bounded import Bounded
from callmesh.app.extras._webhook_runs import Runs
from callmesh.app.extras.passthrough import FastAPIPassthroughAuthMiddleware
from callmesh.remote import App, User

if TYPE_CHECKING:
    from callmesh.app.extras.webhook import FlyteWebhookAppEnvironment

Scope = Annotated[str, Path(max_length=63, pattern=r"^[a-z0-9-]+$")]
AppName = Annotated[str, Path(max_length=63, pattern=r"^[a-z0-9-]+$")]
TaskName = Annotated[str, Path(max_length=200, pattern=r"^[A-Za-z0-9_.-]+$")]
RunName = Annotated[str, Path(max_length=200, pattern=r"^[A-Za-z0-9_-]+$")]
ScopeQuery = Annotated[str | None, Query(max_length=63, pattern=r"^[a-z0-9-]+$")]
Version = Annotated[str | None, Query(max_length=200)]
Method = Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]

OPEN_PATHS = frozenset({"/health", "/docs", "/openapi.json", "/redoc"})
_STATUSES: tuple[tuple[type[Exception], int], ...] = (
    (errors.NotFoundError, 404),
    (errors.InputsError, 422),
    (errors.RemoteTaskUsageError, 422),
    (errors.InvalidArgumentError, 422),
    (errors.UnauthenticatedError, 401),
    (errors.PermissionDeniedError, 403),
    (errors.FailedPreconditionError, 409),
    (errors.AlreadyExistsError, 409),
    (errors.ConflictError, 409),
    (errors.DeploymentError, 409),
    (errors.ExhaustedError, 429),
    (errors.UnimplementedError, 501),
    (errors.UnavailableError, 503),
    (errors.InitializationError, 503),
    (errors.DeadlineError, 504),
)
_NOT_SUPPORTED = {
    "trigger": "triggers: start runs with `POST /run-task/…` from a scheduler of your own",
    "build": "image builds: an image is resolved when its environment is deployed",
    "prefetch": "prefetching models: load the model in a task or in the app's `on_startup`",
}


def make_app(env: FlyteWebhookAppEnvironment, enabled: Sequence[str]) -> FastAPI:
    """The app that offers the enabled endpoints."""
    app = FastAPI(
        title=env.title or f"Webhook: {env.name}",
        description=env.description or "Runs tasks and manages apps of a mesh.",
        lifespan=_acting_for_callers,
    )
    app.add_middleware(Bounded)
    app.add_middleware(FastAPIPassthroughAuthMiddleware, excluded_paths=OPEN_PATHS)
    app.add_exception_handler(errors.CallmeshError, _refused)
    app.add_exception_handler(errors.BaseRuntimeError, _refused)
    for name, (method, path, handler) in _routes(env).items():
        if name in enabled:
            app.add_api_route(path, handler, methods=[method], name=name)
    return app


@asynccontextmanager
async def _acting_for_callers(_app: FastAPI) -> AsyncIterator[None]:
    if settings.current().mode != settings.LOCAL:
        settings.init_passthrough(
            project=settings.current().project, domain=settings.current().domain
        )
    yield


async def _refused(_request: Request, problem: Exception) -> JSONResponse:
    """A problem as a status and one sentence."""
    status = next((code for kind, code in _STATUSES if isinstance(problem, kind)), 500)
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else None
    return JSONResponse({"detail": str(problem)}, status, headers)


def _routes(env: FlyteWebhookAppEnvironment) -> dict[str, tuple[str, str, Callable[..., Any]]]:
    core, tasks, runs, apps = _Core(), _Tasks(env), _Runs(env), _Apps(env)
    prefetched = "/prefetch/hf-model/{run_name}"
    trigger = "/trigger/{task_name}/{trigger_name}"
    return {
        "health": ("GET", "/health", core.health),
        "me": ("GET", "/me", core.me),
        "run_task": ("POST", "/run-task/{domain}/{project}/{name}", tasks.run),
        "get_task": ("GET", "/task/{domain}/{project}/{name}", tasks.get),
        "get_run": ("GET", "/run/{name}", runs.get),
        "get_run_io": ("GET", "/run/{name}/io", runs.io),
        "abort_run": ("POST", "/run/{name}/abort", runs.abort),
        "get_app": ("GET", "/app/{name}", apps.get),
        "activate_app": ("POST", "/app/{name}/activate", apps.activate),
        "deactivate_app": ("POST", "/app/{name}/deactivate", apps.deactivate),
        "call_app": ("POST", "/app/{name}/call", apps.call),
        "activate_trigger": ("POST", f"{trigger}/activate", _unsupported("trigger")),
        "deactivate_trigger": ("POST", f"{trigger}/deactivate", _unsupported("trigger")),
        "build_image": ("POST", "/build-image", _unsupported("build")),
        "prefetch_hf_model": ("POST", "/prefetch/hf-model", _unsupported("prefetch")),
        "get_prefetch_hf_model": ("GET", prefetched, _unsupported("prefetch")),
        "get_prefetch_hf_model_io": ("GET", f"{prefetched}/io", _unsupported("prefetch")),
        "abort_prefetch_hf_model": ("POST", f"{prefetched}/abort", _unsupported("prefetch")),
    }


def _unsupported(group: str) -> Callable[..., Any]:
    async def refuse() -> None:
        raise HTTPException(501, f"callmesh does not support {_NOT_SUPPORTED[group]}")

    return refuse


class _Core:
    async def health(self) -> dict[str, str]:
        """It serves."""
        return {"status": "healthy"}

    async def me(self) -> dict[str, str]:
        """Whom the mesh takes the caller for."""
        if settings.current().mode == settings.LOCAL:
            return {"subject": "local", "name": "local"}
        user = await User.get.aio()
        return {"subject": user.subject(), "name": user.name()}


class _Tasks:
    def __init__(self, env: FlyteWebhookAppEnvironment) -> None:
        self._env = env

    async def run(
        self,
        domain: Scope,
        project: Scope,
        name: TaskName,
        inputs: Annotated[dict[str, Any], Body()],
        version: Version = None,
    ) -> dict[str, str]:
        """Start a run; the body is an object of the task's arguments."""
        run = await Runs.start(await self._find(domain, project, name, version), inputs)
        return {"url": run.url, "name": run.name}

    async def get(
        self, domain: Scope, project: Scope, name: TaskName, version: Version = None
    ) -> dict[str, Any]:
        """What a task takes."""
        return Runs.describe(await self._find(domain, project, name, version))

    async def _find(self, domain: str, project: str, name: str, version: str | None) -> Any:
        task = await allowed.find(self._env, domain, project, name, version)
        if task is None:
            raise HTTPException(403, f"task `{domain}/{project}/{name}` is not allowed here")
        return task


class _Runs:
    def __init__(self, env: FlyteWebhookAppEnvironment) -> None:
        self._env = env

    async def get(self, name: RunName) -> dict[str, Any]:
        """Where a run is."""
        run = await self._find(name)
        return {"name": run.name, "phase": run.phase, "url": run.url, "done": run.done()}

    async def io(self, name: RunName) -> dict[str, Any]:
        """Its arguments, and what it returned: null unless it succeeded."""
        run = await self._find(name)
        inputs, outputs = await Runs.values(run)
        return {"name": run.name, "inputs": inputs, "outputs": outputs}

    async def abort(
        self,
        name: RunName,
        reason: Annotated[str, Query(max_length=1000)] = "aborted by a webhook",
    ) -> dict[str, str]:
        """End a run. 409 for one that has ended."""
        run = await self._find(name)
        await Runs.abort(run, reason)
        return {"name": name, "status": "abort_requested", "reason": reason}

    async def _find(self, name: str) -> Any:
        run = await Runs.find(name)
        if not await allowed.is_allowed(self._env, run.domain, run.project, run.task_name):
            raise HTTPException(403, f"run `{name}` is of a task that is not allowed here")
        return run


@dataclass(frozen=True, slots=True)
class _Place:
    """The app that a request names; what it does not say is this webhook's own."""

    domain: str
    project: str
    name: str


def _place(name: AppName, domain: ScopeQuery = None, project: ScopeQuery = None) -> _Place:
    own = settings.current()
    return _Place(domain or own.domain, project or own.project, name)


Place = Annotated[_Place, Depends(_place)]


class _Apps:
    def __init__(self, env: FlyteWebhookAppEnvironment) -> None:
        self._env = env

    async def get(self, place: Place) -> dict[str, Any]:
        """How an app is."""
        app = await self._find("get the status of", place)
        return {"revision": app.revision, **_state(app)}

    async def activate(
        self,
        place: Place,
        wait: bool = False,  # noqa: FBT001, FBT002 - a query parameter
    ) -> dict[str, Any]:
        """Have it run; with `wait` until it takes calls."""
        app = await self._find("activate", place)
        return _state(await app.activate.aio(wait=wait))

    async def deactivate(
        self,
        place: Place,
        wait: bool = False,  # noqa: FBT001, FBT002 - a query parameter
    ) -> dict[str, Any]:
        """Have it stopped; with `wait` until it is."""
        app = await self._find("deactivate", place)
        return _state(await app.deactivate.aio(wait=wait))

    async def call(
        self,
        place: Place,
        path: Annotated[str, Query(max_length=4000)],
        method: Annotated[Method, Query()] = "GET",
        payload: Annotated[dict[str, Any] | list[Any] | None, Body()] = None,
        query_params: Annotated[dict[str, str | int | float | bool] | None, Body()] = None,
    ) -> Any:
        """Call another app; its answer. The caller's credentials are not sent to it."""
        app = await self._find("call", place)
        status, answer = await calls.call(
            app.endpoint, method, path, payload, query_params, f"callmesh-webhook/{self._env.name}"
        )
        if status >= 300:
            code = status if status >= 400 else 502
            raise HTTPException(code, f"app `{place.name}` answered {status}: {answer}")
        return answer if isinstance(answer, dict | list) else {"response": answer}

    async def _find(self, what: str, place: _Place) -> App:
        own = settings.current()
        if place == _Place(own.domain, own.project, self._env.name):
            raise HTTPException(400, f"cannot {what} self: `{place.name}` is this webhook")
        if not self._env.allows_app(place.domain, place.project, place.name):
            raise HTTPException(403, f"app `{place.name}` is not allowed here")
        return await App.get.aio(place.name, place.project, place.domain)


def _state(app: App) -> dict[str, Any]:
    return {
        "name": app.name,
        "endpoint": app.endpoint,
        "url": app.url,
        "is_active": app.is_active(),
        "is_deactivated": app.is_deactivated(),
    }
