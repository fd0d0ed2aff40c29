"""Where the control plane is: the order of places to look at.

An argument, `CALLMESH_ENDPOINT`, a config file, the mesh of the local state
folder. Reading files is all that happens here; nothing is connected to.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ENDPOINT_VARIABLE = "CALLMESH_ENDPOINT"
TOKEN_VARIABLE = "CALLMESH_TOKEN_FILE"
STATE_VARIABLE = "CALLMESH_STATE_DIR"
CONFIG_VARIABLE = "CALLMESH_CONFIG"
CONFIG_NAME = Path(".callmesh") / "config.yaml"
_LOOPBACK = ("localhost", "127.0.0.1", "[::1]", "::1")


@dataclass(frozen=True, slots=True)
class Place:
    """A control plane's address. ``token_file`` is empty for a Unix socket.

    ``source`` says where the address came from, for messages. ``runtime_dir``
    is set for a mesh on this machine, whose endpoints file can be read.
    """

    target: str
    token_file: str = ""
    source: str = ""
    runtime_dir: str = ""

    @property
    def is_local(self) -> bool:
        """It runs on this machine, as far as its address says."""
        host = self.target.rsplit(":", 1)[0]
        return self.target.startswith("unix:") or host in _LOOPBACK

    def token(self) -> str:
        """The token in its file; "" where there is none to read."""
        if not self.token_file:
            return ""
        try:
            return Path(self.token_file).read_text().strip()
        except OSError:
            return ""


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """What a config file says; what it does not say is empty."""

    path: str
    endpoint: str = ""
    token_file: str = ""
    project: str = ""
    domain: str = ""


class ConfigProblem(Exception):
    """A config file or a record that is missing or malformed. ``str()`` says which."""


def state_dir(environ: Mapping[str, str]) -> Path:
    """The state folder of the local mesh."""
    named = environ.get(STATE_VARIABLE, "")
    if named:
        return Path(named).expanduser().absolute()
    home = environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(home) / "callmesh" / "default"


def local_dir(environ: Mapping[str, str]) -> Path:
    """Where local mode keeps what outlives a process: files and cached results."""
    return state_dir(environ) / "local-mode"


def from_argument(endpoint: str, environ: Mapping[str, str], source: str) -> Place:
    """The place that an endpoint names.

    Its token is in the file that `CALLMESH_TOKEN_FILE` names, or in the state
    folder where that belongs to the same port of this machine.
    """
    target = endpoint.removeprefix("dns:///").removeprefix("http://").rstrip("/")
    token_file = environ.get(TOKEN_VARIABLE, "")
    local = from_state(environ) if _is_same(target, environ) else None
    runtime_dir = ""
    if local is not None:
        token_file = token_file or str(state_dir(environ) / "token")
        runtime_dir = local.runtime_dir
    return Place(target, token_file, source, runtime_dir)


def from_environment(environ: Mapping[str, str]) -> Place | None:
    """The place that `CALLMESH_ENDPOINT` names."""
    endpoint = environ.get(ENDPOINT_VARIABLE, "")
    return from_argument(endpoint, environ, f"`{ENDPOINT_VARIABLE}`") if endpoint else None


def from_state(environ: Mapping[str, str]) -> Place | None:
    """The mesh that runs, or ran last, on the local state folder. Raises `ConfigProblem`."""
    folder = state_dir(environ)
    record = _record(folder)
    runtime = record.get("runtime_dir")
    if not isinstance(runtime, str):
        if (folder / "up.json").exists():
            raise ConfigProblem(
                f"`{folder / 'up.json'}` does not say where the mesh is, it is damaged: "
                "`callmesh down`, then `callmesh up`, write it anew"
            )
        return None
    return Place(f"unix:{runtime}/api.sock", "", f"the state folder `{folder}`", runtime)


def read_config(path: Path) -> ConfigFile:
    """Read one config file. Raises `ConfigProblem`."""
    import yaml

    try:
        data = yaml.safe_load(path.read_text()) or {}
    except OSError as problem:
        raise ConfigProblem(f"config file `{path}` cannot be read: {problem.strerror}") from None
    except yaml.YAMLError as problem:
        raise ConfigProblem(f"config file `{path}` is not YAML: {problem}") from None
    if not isinstance(data, dict):
        raise ConfigProblem(f"config file `{path}` must be a mapping with `admin:` and `task:`")
    admin, task = _section(data, "admin", path), _section(data, "task", path)
    return ConfigFile(
        path=str(path),
        endpoint=str(admin.get("endpoint") or ""),
        token_file=str(admin.get("tokenFile") or ""),
        project=str(task.get("project") or ""),
        domain=str(task.get("domain") or ""),
    )


def find_config(environ: Mapping[str, str]) -> Path | None:
    """The first config file that exists.

    `CALLMESH_CONFIG`, `./.callmesh/config.yaml`, the same at the root of the
    git checkout, the same at home. A file of Flyte's own is not looked for: it
    names another system's endpoint.
    """
    named = environ.get(CONFIG_VARIABLE, "")
    if named:
        return Path(named).expanduser()
    here = Path.cwd()
    roots = [here, *(folder for folder in here.parents if (folder / ".git").exists()), Path.home()]
    return next((root / CONFIG_NAME for root in roots if (root / CONFIG_NAME).is_file()), None)


def _section(data: Mapping[str, Any], name: str, path: Path) -> Mapping[str, Any]:
    section = data.get(name) or {}
    if not isinstance(section, dict):
        raise ConfigProblem(f"`{name}` in config file `{path}` must be a mapping")
    return section


def _record(folder: Path) -> Mapping[str, Any]:
    try:
        record = json.loads((folder / "up.json").read_text())
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def _is_same(target: str, environ: Mapping[str, str]) -> bool:
    host, _, port = target.rpartition(":")
    return host in _LOOPBACK and port == str(_record(state_dir(environ)).get("api_port"))
