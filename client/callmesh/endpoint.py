"""Where an app is called: the order of places to look, and one lookup.

An app that is served here without a mesh comes first. In a workload, and beside
a mesh on the same machine, the node's endpoints file says it: no call is made.
Elsewhere the control plane is asked, and its answer kept for a few seconds.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path

from callmesh import _local_apps, settings
from callmesh._sync import bridge
from callmesh.errors import AppNotFoundError
from callmesh_wire.names import AppName

FILE_VARIABLE = "CALLMESH_ENDPOINTS_FILE"
KEEP = 5.0

_files: dict[str, tuple[tuple[int, int, int], Mapping[str, str]]] = {}
_asked: dict[AppName, tuple[float, str]] = {}


def endpoint_of(app: str, project: str | None = None, domain: str | None = None) -> str:
    """The base URL for code that calls an app. Raises `errors.AppNotFoundError`."""
    here = read_endpoints(_local_apps.addresses()).get(app)
    if here:
        return here
    current = settings.current()
    if current.mode == settings.LOCAL:
        raise AppNotFoundError(
            f"app `{app}` has no endpoint: it is not served here, and this process knows of no "
            "mesh; serve it first, or call `callmesh.init_from_config()` with a mesh running"
        )
    name = AppName(project or current.project, domain or current.domain, app)
    file = endpoints_file(current, os.environ)
    if file:
        found = read_endpoints(file).get(name.mesh_name)
        if found:
            return found
        if current.mode == settings.WORKLOAD:
            known = ", ".join(f"`{each}`" for each in sorted(read_endpoints(file))) or "none"
            raise AppNotFoundError(
                f"app `{app}` is not deployed in project `{name.project}`, domain "
                f"`{name.domain}`, so it has no endpoint (apps that do: {known})"
            )
    return _from_control_plane(name)


def endpoints_file(current: settings.Settings, environ: Mapping[str, str]) -> str:
    """The file that says where apps are, or "" where only the control plane knows."""
    if current.mode == settings.WORKLOAD:
        return environ.get(FILE_VARIABLE, "")
    place = current.place
    return f"{place.runtime_dir}/endpoints.json" if place and place.runtime_dir else ""


def read_endpoints(file: str) -> Mapping[str, str]:
    """Endpoints by name; read again when the file has changed. Empty without a file."""
    if not file:
        return {}
    try:
        stat = Path(file).stat()
        mark = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
        known = _files.get(file)
        if known is not None and known[0] == mark:
            return known[1]
        found: Mapping[str, str] = json.loads(Path(file).read_text())
    except (OSError, ValueError):
        return {}
    _files[file] = (mark, found)
    return found


def _from_control_plane(name: AppName) -> str:
    known = _asked.get(name)
    now = time.monotonic()
    if known is not None and now - known[0] < KEEP:
        return known[1]
    place = settings.needs_mesh().place
    from callmesh.remote import App

    app = bridge().run(App.get.aio(name.name, name.project, name.domain))
    found = app.endpoint if place is None or place.is_local else app.url
    _asked[name] = (now, found)
    return found
