"""`serve`: have one app take calls, on the mesh or, without one, on this machine."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal, Protocol, runtime_checkable

from callmesh import _deploying, _local_serving, _notices, _runtime, settings
from callmesh._local_apps import APPS
from callmesh._sync import bridge
from callmesh.app.environment import AppEnvironment
from callmesh.app.parameters import seconds_of
from callmesh.bundle import CopyStyle
from callmesh.deploy import DeployedAppEnvironment, deploy_with
from callmesh.local_app import ACTIVATE, Limits

# Of Flyte's, kept and not acted on.
_WITHOUT_EFFECT = frozenset(
    ("cluster", "cluster_pool", "copy_bundle_to", "interactive_mode", "raw_data_path")
)
_ON_THE_MESH = "on the mesh the app says it itself, with `health_path` and `Timeouts`"

Mode = Literal["local", "remote"]
Seconds = float | timedelta


@runtime_checkable
class AppHandle(Protocol):
    """What `serve` returns: a `remote.App`, or the same surface for an app of this machine.

    ``activate`` and ``deactivate`` are verbs: they have an ``.aio`` form.
    """

    @property
    def name(self) -> str:
        """The app's name."""
        ...

    @property
    def activate(self) -> Any:
        """Have it run; with ``wait`` until it takes calls."""
        ...

    @property
    def deactivate(self) -> Any:
        """Have it stopped; with ``wait`` until it is."""
        ...

    @property
    def url(self) -> str:
        """Where a browser calls it."""
        ...

    @property
    def endpoint(self) -> str:
        """Where code calls it."""
        ...

    def is_active(self) -> bool:
        """It takes calls."""
        ...

    def is_deactivated(self) -> bool:
        """It has been stopped."""
        ...

    def ephemeral_ctx(self) -> contextlib.AbstractAsyncContextManager[Any]:
        """Active inside the block, deactivated after it."""
        ...

    def ephemeral_ctx_sync(self) -> contextlib.AbstractContextManager[Any]:
        """The same for blocking code."""
        ...


@dataclass(frozen=True, slots=True)
class ServeContext:
    """How to serve; what is not said is this process's own."""

    mode: Mode | None = None
    options: _deploying.Options = field(default_factory=_deploying.Options)
    timeout: float | None = None
    limits: Limits = field(default_factory=Limits)
    dry_run: bool = False

    @property
    def local_only(self) -> list[str]:
        """Options that the user chose and only the local mode acts on."""
        usual, mine = Limits(), self.limits
        values = {
            "deactivate_timeout": mine.deactivate != usual.deactivate,
            "health_check_timeout": mine.health != usual.health,
            "health_check_interval": mine.interval != usual.interval,
            "health_check_path": mine.path != usual.path,
        }
        return [name for name, is_chosen in values.items() if is_chosen]

    @property
    def is_local(self) -> bool:
        """The app becomes a process of this machine, without a mesh."""
        if self.mode is not None:
            return self.mode == "local"
        attempt = _runtime.current()
        if attempt is not None:
            return attempt.mode == "local"
        return settings.current().mode == settings.LOCAL


class Server:
    """Serves apps in one way: ``serve(env)`` blocks until the app is ready, ``serve.aio`` too."""

    def __init__(self, context: ServeContext) -> None:
        self.context = context

    @property
    def serve(self) -> Server:
        """Itself: ``with_servecontext(…).serve(env)``."""
        return self

    def __call__(self, env: AppEnvironment) -> AppHandle:
        """Serve an app and what it depends on; returns once they take calls.

        Without a mesh each is a process of this machine until it is deactivated,
        or until this process ends; a script that ends with this call stays up
        until Ctrl-C. Raises `errors.DeploymentError` with the reason when one
        does not start.
        """
        return bridge().run(self._serve(env))

    async def aio(self, env: AppEnvironment) -> AppHandle:
        """The same, awaited."""
        return await bridge().arun(self._serve(env))

    async def _serve(self, env: AppEnvironment) -> AppHandle:
        context = self.context
        if not isinstance(env, AppEnvironment):
            raise TypeError(f"`serve` takes an app environment, not {env!r}")
        options = context.options
        if context.is_local:
            how = _local_serving.Serving(options.env_vars, options.values, context.limits)
            app = await _local_serving.serve(env, how)
            APPS.keeps_script = True
            return app
        if context.local_only:
            listed = ", ".join(f"`{name}`" for name in context.local_only)
            _notices.say([f"{listed} of `with_servecontext`: for the local mode; {_ON_THE_MESH}"])
        (deployment,) = await deploy_with([env], options, dry_run=context.dry_run)
        if not context.dry_run:
            await deployment.wait.aio(timeout=context.timeout)
        deployed = deployment.envs[env.name]
        assert isinstance(deployed, DeployedAppEnvironment)
        return deployed.deployed_app


def with_servecontext(
    mode: Mode | None = None,
    *,
    version: str | None = None,
    copy_style: CopyStyle = "loaded_modules",
    project: str | None = None,
    domain: str | None = None,
    env_vars: Mapping[str, str] | None = None,
    parameter_values: Mapping[str, Mapping[str, Any]] | None = None,
    input_values: Mapping[str, Mapping[str, Any]] | None = None,
    activate_timeout: Seconds | None = None,
    deactivate_timeout: Seconds = 6.0,
    health_check_timeout: Seconds = 2.0,
    health_check_interval: Seconds = 1.0,
    health_check_path: str = "/health",
    dry_run: bool = False,
    log_level: int | str | None = None,
    log_format: str | None = None,
    user_log_level: int | str | None = None,
    **options: Any,
) -> Server:
    """Choose how to serve: ``with_servecontext(env_vars={…}).serve(env)``.

    ``parameter_values`` maps apps to values of their parameters, and may be
    called ``input_values``. With ``dry_run`` everything is checked and nothing
    deployed. The options of logging reach the app as ``LOG_LEVEL``,
    ``LOG_FORMAT`` and ``USER_LOG_LEVEL``. The health check and the time to stop
    are for the local mode; on the mesh they are the app's own
    (`AppEnvironment`). Raises `TypeError` for options that nobody knows.
    """
    _check_options(mode, options)
    logging = {"log_level": log_level, "log_format": log_format, "user_log_level": user_log_level}
    variables = {name.upper(): str(said) for name, said in logging.items() if said is not None}
    timeout = seconds_of(activate_timeout, "activate_timeout") or None
    return Server(
        ServeContext(
            mode,
            _deploying.Options(
                project=project or "",
                domain=domain or "",
                version=version or "",
                copy_style=copy_style,
                env_vars={**variables, **(env_vars or {})},
                values={**(parameter_values or {}), **(input_values or {})},
            ),
            timeout,
            Limits(
                activate=timeout or ACTIVATE,
                deactivate=seconds_of(deactivate_timeout, "deactivate_timeout"),
                health=seconds_of(health_check_timeout, "health_check_timeout"),
                interval=seconds_of(health_check_interval, "health_check_interval"),
                path=health_check_path,
            ),
            dry_run,
        )
    )


def _check_options(mode: object, options: Mapping[str, object]) -> None:
    if mode not in (None, "local", "remote"):
        raise ValueError(f'`mode` must be "local" or "remote", not {mode!r}')
    unknown = sorted(options.keys() - _WITHOUT_EFFECT)
    if unknown:
        raise TypeError(f"`with_servecontext` has no option `{unknown[0]}`")
    ignored = [f"`{option}`" for option, value in options.items() if value]
    if ignored:
        _notices.say([f"`with_servecontext` got {', '.join(ignored)}: not acted on yet"])


serve = Server(ServeContext())
