"""How this process reaches the mesh: `init` and its relatives.

Without any of them a script that finds `CALLMESH_ENDPOINT` talks to that
mesh; otherwise it is in local mode, and tasks run in its own process. A
workload talks to its node's agent, whatever it calls.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from callmesh import _notices, _places, _runtime
from callmesh._places import Place
from callmesh._sync import immediate
from callmesh.errors import InitializationError
from callmesh_wire import names

LOCAL, REMOTE, WORKLOAD = "local", "remote", "workload"


@dataclass(frozen=True, slots=True)
class Settings:
    """What `init` settled. ``place`` is set in remote mode only.

    ``root_dir`` is None until the user names one; then code is bundled from
    there. With ``passthrough`` calls carry the credentials of
    `remote.auth_metadata`, never this process's own.
    """

    mode: str = LOCAL
    place: Place | None = None
    project: str = names.DEFAULT_PROJECT
    domain: str = names.DEFAULT_DOMAIN
    root_dir: Path | None = None
    passthrough: bool = False


_current: Settings | None = None


def current() -> Settings:
    """The settings in force."""
    if _current is not None:
        return _current
    if _runtime.workload_socket():
        return workload()
    place = _places.from_environment(os.environ)
    return Settings(mode=REMOTE, place=place) if place else Settings()


def use(settings: Settings) -> None:
    """Put settings in force, for this process."""
    global _current
    _current = settings


def workload() -> Settings:
    """The settings of an app instance or a task worker, from its environment."""
    return Settings(
        mode=WORKLOAD,
        project=os.environ.get("CALLMESH_PROJECT") or names.DEFAULT_PROJECT,
        domain=os.environ.get("CALLMESH_DOMAIN") or names.DEFAULT_DOMAIN,
    )


def find(
    endpoint: str | None = None,
    *,
    project: str | None = None,
    domain: str | None = None,
    state_dir: str | Path | None = None,
    config: str | Path | None = None,
) -> Settings:
    """The settings of a program that always looks for a mesh, as the CLI does.

    Raises `InitializationError` where there is none to be found.
    """
    environ = dict(os.environ)
    if state_dir is not None:
        environ[_places.STATE_VARIABLE] = str(state_dir)
    file = _config(config, environ)
    place: Place | None
    if endpoint:
        place = _places.from_argument(endpoint, environ, "the endpoint that was given")
    elif state_dir is not None:
        place = _from_state(environ)
    else:
        place = _places.from_environment(environ) or _from_config(file, environ)
        place = place or _from_state(environ)
    if place is None:
        raise InitializationError(
            "NoMesh",
            "user",
            f"no mesh has been started on the state folder `{_places.state_dir(environ)}`: start "
            f"one with `callmesh up`, or set `{_places.ENDPOINT_VARIABLE}`",
        )
    return _scoped(Settings(mode=REMOTE, place=place), project, domain, file)


@immediate
def init(
    org: str | None = None,
    project: str | None = None,
    domain: str | None = None,
    root_dir: str | Path | None = None,
    log_level: int | None = None,
    log_format: str | None = None,
    endpoint: str | None = None,
    headless: bool = False,  # noqa: FBT001, FBT002 - Flyte's signature
    insecure: bool = False,  # noqa: FBT001, FBT002 - Flyte's signature
    **_options: Any,
) -> None:
    """Settle how this process reaches the mesh.

    Without ``endpoint`` and without `CALLMESH_ENDPOINT` it is local mode. What
    Flyte's `init` takes for its cloud is accepted and means nothing here.
    """
    del org, log_level, log_format, headless, insecure
    environ = dict(os.environ)
    if endpoint:
        place: Place | None = _places.from_argument(endpoint, environ, "the endpoint given to init")
    else:
        place = _places.from_environment(environ)
    base = Settings(mode=REMOTE, place=place) if place else Settings()
    _settle(_scoped(base, project, domain, None), root_dir)


@immediate
def init_from_config(
    path_or_config: str | Path | None = None,
    root_dir: str | Path | None = None,
    log_level: int | None = None,
    log_format: str | None = None,
    user_log_level: int | None = None,
    org: str | None = None,
    project: str | None = None,
    domain: str | None = None,
    **_options: Any,
) -> None:
    """Settle how this process reaches the mesh, by what is found.

    `CALLMESH_ENDPOINT`, the config file, the mesh of the local state folder;
    local mode where there is none, which is said. A config file that is named
    must exist.
    """
    del log_level, log_format, user_log_level, org
    environ = dict(os.environ)
    file = _config(path_or_config, environ)
    place = _places.from_environment(environ) or _from_config(file, environ) or _from_state(environ)
    base = Settings(mode=REMOTE, place=place) if place else Settings()
    if place is None and not _runtime.workload_socket():
        folder = _places.state_dir(environ)
        said = f"no mesh runs on the state folder `{folder}`, so tasks run in this process"
        _notices.say([f"{said}: `callmesh up` starts one"])
    _settle(_scoped(base, project, domain, file), root_dir)


@immediate
def init_in_cluster(
    org: str | None = None,
    project: str | None = None,
    domain: str | None = None,
    api_key: str | None = None,
    endpoint: str | None = None,
    insecure: bool = False,  # noqa: FBT001, FBT002 - Flyte's signature
) -> dict[str, Any]:
    """Settle how a workload reaches the mesh: it needs to be told nothing.

    Outside a workload it does what `init_from_config` does.
    """
    del org, api_key, insecure
    if _runtime.workload_socket():
        _settle(_scoped(workload(), project, domain, None), None)
    elif endpoint:
        init(endpoint=endpoint, project=project, domain=domain)
    else:
        init_from_config(project=project, domain=domain)
    return {"project": current().project, "domain": current().domain}


@immediate
def init_passthrough(
    endpoint: str | None = None,
    org: str | None = None,
    project: str | None = None,
    domain: str | None = None,
    insecure: bool = False,  # noqa: FBT001, FBT002 - Flyte's signature
) -> dict[str, Any]:
    """As `init_in_cluster`, for a process that acts for whoever calls it.

    From now on every call to the mesh carries the credentials of
    `remote.auth_metadata`, and none can be made without them.
    """
    found: dict[str, Any] = init_in_cluster(
        org=org, project=project, domain=domain, endpoint=endpoint, insecure=insecure
    )
    use(replace(current(), passthrough=True))
    return found


def is_control_plane_available() -> bool:
    """This process is set up to reach a mesh. Whether it answers is not asked."""
    return current().mode != LOCAL


def needs_mesh() -> Settings:
    """The settings, for what only works with a mesh. Raises `InitializationError`."""
    settings = current()
    if settings.mode == LOCAL:
        raise InitializationError(
            "ClientNotInitializedError",
            "user",
            "this needs a mesh, and this process knows of none: start one with `callmesh up` and "
            f"call `callmesh.init_from_config()` first, or set `{_places.ENDPOINT_VARIABLE}`",
        )
    return settings


def _settle(settings: Settings, root_dir: str | Path | None) -> None:
    if _runtime.workload_socket() and settings.mode != WORKLOAD:
        # A workload's way to the mesh is its node's agent.
        settings = replace(settings, mode=WORKLOAD, place=None)
    if root_dir is not None:
        root = Path(root_dir).expanduser().resolve()
        settings = replace(settings, root_dir=root)
        if str(root) not in sys.path:
            sys.path.append(str(root))
    use(settings)


def _scoped(
    settings: Settings,
    project: str | None,
    domain: str | None,
    file: _places.ConfigFile | None,
) -> Settings:
    return replace(
        settings,
        project=names.check_scope(
            project or (file.project if file else "") or settings.project, "project"
        ),
        domain=names.check_scope(
            domain or (file.domain if file else "") or settings.domain, "domain"
        ),
    )


def _config(named: str | Path | None, environ: dict[str, str]) -> _places.ConfigFile | None:
    path = Path(named).expanduser() if named else _places.find_config(environ)
    if path is None:
        return None
    try:
        return _places.read_config(path)
    except _places.ConfigProblem as problem:
        code = "ConfigFileNotFoundError" if not path.exists() else "ConfigFileError"
        raise InitializationError(code, "user", str(problem)) from None


def _from_state(environ: dict[str, str]) -> Place | None:
    try:
        return _places.from_state(environ)
    except _places.ConfigProblem as problem:
        raise InitializationError("DamagedRecord", "user", str(problem)) from None


def _from_config(file: _places.ConfigFile | None, environ: dict[str, str]) -> Place | None:
    if file is None or not file.endpoint:
        return None
    place = _places.from_argument(file.endpoint, environ, f"config file `{file.path}`")
    return replace(place, token_file=file.token_file) if file.token_file else place
