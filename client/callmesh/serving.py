"""`serve`: deploy one app and wait until it takes calls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from callmesh import _deploying, _notices, settings
from callmesh._sync import bridge
from callmesh.app.environment import AppEnvironment
from callmesh.bundle import CopyStyle
from callmesh.deploy import DeployedAppEnvironment, deploy_with
from callmesh.remote.app import App

Mode = Literal["local", "remote"]
AppHandle = App


@dataclass(frozen=True, slots=True)
class ServeContext:
    """How to serve; what is not said is this process's own."""

    options: _deploying.Options = field(default_factory=_deploying.Options)
    timeout: float | None = None


class Server:
    """Serves apps in one way: ``serve(env)`` blocks until the app is ready, ``serve.aio`` too."""

    def __init__(self, context: ServeContext) -> None:
        self.context = context

    @property
    def serve(self) -> Server:
        """Itself: ``with_servecontext(…).serve(env)``."""
        return self

    def __call__(self, env: AppEnvironment) -> App:
        """Deploy an app and what it depends on; returns once they take calls.

        Raises `errors.DeploymentError` with the reason when one does not start.
        """
        return bridge().run(_serve(env, self.context))

    async def aio(self, env: AppEnvironment) -> App:
        """The same, awaited."""
        return await bridge().arun(_serve(env, self.context))


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
    activate_timeout: float | None = None,
    **options: Any,
) -> Server:
    """Choose how to serve: ``with_servecontext(env_vars={…}).serve(env)``.

    ``parameter_values`` maps apps to values of their parameters, and may be
    called ``input_values``.
    """
    if mode == "local":
        raise settings.no_local_serving()
    ignored = [f"`{option}`" for option, value in options.items() if value]
    if ignored:
        _notices.say([f"`with_servecontext` got {', '.join(ignored)}: not acted on yet"])
    return Server(
        ServeContext(
            _deploying.Options(
                project=project or "",
                domain=domain or "",
                version=version or "",
                copy_style=copy_style,
                env_vars=dict(env_vars or {}),
                values={**(parameter_values or {}), **(input_values or {})},
            ),
            activate_timeout,
        )
    )


serve = Server(ServeContext())


async def _serve(env: AppEnvironment, context: ServeContext) -> App:
    if not isinstance(env, AppEnvironment):
        raise TypeError(f"`serve` takes an app environment, not {env!r}")
    if settings.current().mode == settings.LOCAL:
        raise settings.no_local_serving()
    (deployment,) = await deploy_with([env], context.options)
    await deployment.wait.aio(timeout=context.timeout)
    deployed = deployment.envs[env.name]
    assert isinstance(deployed, DeployedAppEnvironment)
    return deployed.deployed_app
