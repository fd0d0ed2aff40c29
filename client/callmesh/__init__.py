"""callmesh: Python tasks and apps that find and call each other.

    import callmesh as flyte

    env = flyte.TaskEnvironment(name="hello")

    @env.task
    async def greet(name: str) -> str:
        return f"Hello, {name}!"

Names are loaded when they are first used: importing this package costs
nothing, and opens nothing.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from callmesh._flyte_only import install, refuse

__version__ = "0.1.0"

if TYPE_CHECKING:
    from callmesh import app as app
    from callmesh import durable as durable
    from callmesh import errors as errors
    from callmesh import io as io
    from callmesh import remote as remote
    from callmesh.calls import channel, stub
    from callmesh.context import (
        TaskContext,
        ctx,
        current_domain,
        current_project,
        custom_context,
        get_custom_context,
        group,
    )
    from callmesh.deploy import Deployment, Progress, deploy
    from callmesh.environment import Environment, TaskEnvironment
    from callmesh.image import Image
    from callmesh.map import map_ as map  # noqa: A004 - Flyte's name
    from callmesh.policy import Backoff, Cache, RetryStrategy, ReusePolicy, Timeout
    from callmesh.remote.phase import ActionPhase
    from callmesh.remote.run import Run
    from callmesh.resources import GPU, TPU, Device, Resources
    from callmesh.run import rerun, run, with_runcontext
    from callmesh.secret import Secret, SecretRequest, secret_file
    from callmesh.serving import AppHandle, serve, with_servecontext
    from callmesh.settings import (
        init,
        init_from_config,
        init_in_cluster,
        init_passthrough,
        is_control_plane_available,
    )
    from callmesh.steps import trace
    from callmesh.task import AsyncFunctionTaskTemplate, Task, TaskTemplate

_PLACES: dict[str, str] = {
    "ActionPhase": "remote.phase",
    "AppHandle": "serving",
    "AsyncFunctionTaskTemplate": "task",
    "Backoff": "policy",
    "Cache": "policy",
    "Deployment": "deploy",
    "Device": "resources",
    "Environment": "environment",
    "GPU": "resources",
    "Image": "image",
    "Progress": "deploy",
    "Resources": "resources",
    "RetryStrategy": "policy",
    "ReusePolicy": "policy",
    "Run": "remote.run",
    "Secret": "secret",
    "SecretRequest": "secret",
    "TPU": "resources",
    "Task": "task",
    "TaskContext": "context",
    "TaskEnvironment": "environment",
    "TaskTemplate": "task",
    "Timeout": "policy",
    "channel": "calls",
    "ctx": "context",
    "current_domain": "context",
    "current_project": "context",
    "custom_context": "context",
    "deploy": "deploy",
    "get_custom_context": "context",
    "group": "context",
    "init": "settings",
    "init_from_config": "settings",
    "init_in_cluster": "settings",
    "init_passthrough": "settings",
    "is_control_plane_available": "settings",
    "map": "map:map_",
    "rerun": "run",
    "run": "run",
    "secret_file": "secret",
    "serve": "serving",
    "stub": "calls",
    "trace": "steps",
    "with_runcontext": "run",
    "with_servecontext": "serving",
}
_MODULES = ("app", "durable", "errors", "io", "prefetch", "remote")


class _Package(ModuleType):
    """This package: a verb stays a verb when the module that holds it is imported.

    Python sets ``callmesh.run`` to the module once ``callmesh.run`` is
    imported; users mean the function.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _PLACES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
install()


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    place = _PLACES.get(name)
    if place is None:
        refuse(__name__, name)
        raise AttributeError(f"module `{__name__}` has no attribute `{name}`")
    module, _, attribute = place.partition(":")
    value = getattr(importlib.import_module(f"{__name__}.{module}"), attribute or name)
    setattr(sys.modules[__name__], name, value)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


__all__ = [
    "ActionPhase",
    "AppHandle",
    "AsyncFunctionTaskTemplate",
    "Backoff",
    "Cache",
    "Deployment",
    "Device",
    "Environment",
    "GPU",
    "Image",
    "Progress",
    "Resources",
    "RetryStrategy",
    "ReusePolicy",
    "Run",
    "Secret",
    "SecretRequest",
    "TPU",
    "Task",
    "TaskContext",
    "TaskEnvironment",
    "TaskTemplate",
    "Timeout",
    "app",
    "channel",
    "ctx",
    "current_domain",
    "current_project",
    "custom_context",
    "deploy",
    "durable",
    "errors",
    "get_custom_context",
    "group",
    "init",
    "init_from_config",
    "init_in_cluster",
    "init_passthrough",
    "io",
    "is_control_plane_available",
    "map",
    "remote",
    "rerun",
    "run",
    "secret_file",
    "serve",
    "stub",
    "trace",
    "with_runcontext",
    "with_servecontext",
]
