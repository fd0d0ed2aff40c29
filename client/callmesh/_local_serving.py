"""From an app's declaration to a process of this machine, and those it depends on first."""

from __future__ import annotations

import base64
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from callmesh import _local_apps, _notices, graph
from callmesh._local_apps import APPS
from callmesh._modules import import_root, locate
from callmesh.app.environment import AppEnvironment
from callmesh.app.extras import FastAPIAppEnvironment
from callmesh.app.parameters import (
    VARIABLE,
    AppEndpoint,
    Parameter,
    RunOutput,
    is_content,
    seconds_of,
    text_of,
)
from callmesh.environment import Environment
from callmesh.errors import DeploymentError, ParameterMaterializationError
from callmesh.local_app import Limits, LocalApp, Program
from callmesh_wire import command
from callmeshpb.v1 import common_pb2, workload_pb2

_NOT_INHERITED = ("CALLMESH_START", "CALLMESH_LISTEN_FD", VARIABLE, "PORT")
_LOOPBACK = "localhost,127.0.0.1,::1"


@dataclass(frozen=True, slots=True)
class Serving:
    """How to serve; ``values`` are those of parameters, by app and parameter."""

    env_vars: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)


async def serve(env: AppEnvironment, how: Serving) -> LocalApp:
    """Serve an app, after those that it depends on; returns once it takes calls.

    One that is served already is left alone, unless it is to be served in
    another way: then its process is replaced. Raises `DeploymentError`.
    """
    if server := _local_apps.being_served():
        raise DeploymentError(
            f"`serve` is called in the process of app `{server}`: where a script serves apps, it "
            'must do so under `if __name__ == "__main__":`, since their processes import it'
        )
    *before, _ = [each for each in graph.order([env]) if isinstance(each, AppEnvironment)]
    brought = await bring_up(before, how)
    known = APPS.get(env.name)
    try:
        app = await _serve(env, how)
    except BaseException:
        for each in reversed(brought):
            await each.deactivate.aio(wait=True)
        raise
    app.brought = [*(known.brought if known else ()), *brought]
    return app


async def bring_up(environments: Sequence[Environment], how: Serving) -> list[LocalApp]:
    """Serve those apps that are not served yet, in their order; the handles of these."""
    made: list[LocalApp] = []
    for each in graph.order(environments):
        known = APPS.get(each.name)
        if isinstance(each, AppEnvironment) and not (known and known.is_active()):
            made.append(await _serve(each, how))
    return made


async def _serve(env: AppEnvironment, how: Serving) -> LocalApp:
    program = _program(env, how, await _values(env, how))
    known = APPS.get(env.name)
    if known is not None and known.is_active() and known.program == program:
        return known
    if known is not None:
        known.begin_end()
        known.await_end()
    app = LocalApp(env.name, program, _limits(env, how.limits))
    APPS.put(app)
    await app.activate.aio(wait=True)
    return app


def _limits(env: AppEnvironment, chosen: Limits) -> Limits:
    """What the app itself says goes first, as on the mesh."""
    startup = seconds_of(env.timeouts.startup, "startup")
    return replace(chosen, activate=startup or chosen.activate, path=env.health_path or chosen.path)


def _program(env: AppEnvironment, how: Serving, parameters: Mapping[str, str]) -> Program:
    assert not isinstance(env.port, int)
    _look_for_secrets(env, how)
    exported = {each.env_var: parameters[each.name] for each in env.parameters if each.env_var}
    environment = {
        **_inherited(),
        **(env.env_vars or {}),
        **exported,
        **how.env_vars,
        VARIABLE: json.dumps(parameters),
    }
    if env._server is None and env.argv:
        words = (env.container_cmd(), env.container_args())
        return Program(
            argv=tuple(command.command_line(*words)),
            environment=environment,
            port=env.port.port,
            is_fixed=command.names_port(*words, env.port.port),
        )
    if env._server is None and not isinstance(env, FastAPIAppEnvironment):
        raise DeploymentError(
            f"app `{env.name}` has nothing to run: give it `args` or `command`, decorate a "
            "function with `@env.server`, or use `FastAPIAppEnvironment`"
        )
    start = _start(env).SerializeToString()
    return Program(
        argv=(sys.executable, "-P", "-m", "callmesh.serve"),
        environment={**environment, "CALLMESH_START": base64.b64encode(start).decode()},
        port=env.port.port,
        inherits_listener=env._server is None,
    )


def _look_for_secrets(env: AppEnvironment, how: Serving) -> None:
    """Say which secrets the process will miss: here they are environment variables."""
    given = {*os.environ, *(env.env_vars or {}), *how.env_vars}
    _notices.say(
        f"app `{env.name}` asks for secret `{secret.key}`: without a mesh that is the "
        f"environment variable `{secret.variable}`, which is not set"
        for secret in env.secret_requests
        if secret.variable and secret.variable not in given
    )


def _start(env: AppEnvironment) -> workload_pb2.WorkloadStart:
    """Where the process finds the declaration: what this process imports, it can."""
    location = locate(env)
    root = import_root(env.origin.module, Path(env.origin.file).resolve())
    code = common_pb2.Code(
        module=location.module,
        attribute=location.attribute,
        sys_path=[str(Path(each).absolute()) for each in sys.path if each],
    )
    return workload_pb2.WorkloadStart(
        app=workload_pb2.AppStart(code=code, listen_fd=-1), directory=str(root)
    )


async def _values(env: AppEnvironment, how: Serving) -> dict[str, str]:
    """The parameters' values as texts; files are put where the app looks for them."""
    found = {}
    for each in env.parameters:
        value: Any = how.values.get(env.name, {}).get(each.name, each.value)
        if not is_content(value):
            found[each.name] = _value(env, each, how)
        elif not each.download:
            found[each.name] = value.path
        else:
            found[each.name] = await _put(env, each, value)
    return found


async def _put(env: AppEnvironment, parameter: Parameter, value: Any) -> str:
    """A file or folder at its mount, or in a folder that goes with this process."""
    place = Path(parameter.mount) if parameter.mount else APPS.folder / env.name / parameter.name
    if not parameter.mount or parameter.mount.endswith("/"):
        place.mkdir(parents=True, exist_ok=True)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        return str(await value.download(place))
    except OSError as problem:
        raise ParameterMaterializationError(
            f"parameter `{parameter.name}` of app `{env.name}` cannot be put at `{place}`: "
            f"{problem.strerror or problem}; choose a `mount` that this user may write"
        ) from None


def _value(env: AppEnvironment, parameter: Parameter, how: Serving) -> str:
    value = how.values.get(env.name, {}).get(parameter.name, parameter.value)
    owner = f"parameter `{parameter.name}` of app `{env.name}`"
    if value is None:
        raise ParameterMaterializationError(
            f"{owner} has no value: declare one, or give one with "
            "`with_servecontext(parameter_values={…})`"
        )
    if isinstance(value, AppEndpoint):
        served = APPS.get(value.app_name)
        if served is None or not served.is_active():
            raise ParameterMaterializationError(
                f"{owner} is the address of app `{value.app_name}`, which is not served here: "
                f"serve it first, or add it to `depends_on` of `{env.name}`"
            )
        return served.url if value.public else served.endpoint
    if isinstance(value, RunOutput):
        raise ParameterMaterializationError(
            f"{owner} is the output of a run, which only a mesh keeps: give a value with "
            "`with_servecontext(parameter_values={…})`"
        )
    return text_of(value)


def _inherited() -> dict[str, str]:
    """This process's variables, as an app begins with them."""
    variables = {key: value for key, value in os.environ.items() if key not in _NOT_INHERITED}
    folder, path = str(Path(sys.executable).parent), variables.get("PATH", os.defpath)
    if folder not in path.split(os.pathsep):
        variables["PATH"] = f"{folder}{os.pathsep}{path}"
    for name in ("NO_PROXY", "no_proxy"):
        already = variables.get(name, "")
        variables[name] = f"{already},{_LOOPBACK}" if already else _LOOPBACK
    return variables
