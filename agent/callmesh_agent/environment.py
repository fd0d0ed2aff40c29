"""The variables that a workload is started with, and how its command is written.

Pure but for `place_secrets`. What a person set for their own use of callmesh is
not handed down; what they set for their programs is.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import stat
import sys
from collections.abc import Mapping
from pathlib import Path

from callmesh_agent.config import AgentSettings
from callmesh_agent.core.state import Recipe
from callmesh_agent.xds.ads import client_bootstrap
from callmesh_wire import command
from callmesh_wire.errors import FailedPreconditionError
from callmesh_wire.names import AppName
from callmeshpb.v1 import node_pb2, scheduler_pb2

_NOT_INHERITED = re.compile(r"CALLMESH_|GRPC_XDS_|PORT\Z|PYTHONDONTWRITEBYTECODE\Z")
# Where Flyte mounts secrets. Without root it is a folder of each workload's own.
MOUNT = "/etc/flyte/secrets"
_LOOPBACK = "localhost,127.0.0.1,::1"


def of_node(settings: AgentSettings, inherited: Mapping[str, str]) -> dict[str, str]:
    """What every workload of this node has."""
    variables = {k: v for k, v in inherited.items() if not _NOT_INHERITED.match(k)}
    folder = str(Path(settings.python).parent)
    path = variables.get("PATH", os.defpath)
    for name in ("NO_PROXY", "no_proxy"):
        # A call into the mesh is never for a proxy.
        already = variables.get(name, "")
        variables[name] = f"{already},{_LOOPBACK}" if already else _LOOPBACK
    return variables | {
        "PATH": path if path.split(os.pathsep)[0] == folder else f"{folder}{os.pathsep}{path}",
        "PYTHONUNBUFFERED": "1",
        "CALLMESH_WORKLOAD_SOCKET": str(settings.workload_socket),
        "CALLMESH_ENDPOINTS_FILE": str(settings.endpoints_file),
        "CALLMESH_NODE": settings.node,
        "CALLMESH_SPOOL": str(settings.spool_dir),
        "GRPC_XDS_BOOTSTRAP_CONFIG": client_bootstrap(
            str(settings.ads_socket), settings.node, settings.zone
        ),
    }


def in_environment(variables: Mapping[str, str], folder: Path | None) -> dict[str, str]:
    """``variables`` for a process in a virtual environment; None: the node's interpreter.

    Programs of the environment that this agent runs in are not found any more:
    they would run with packages that the image does not name.
    """
    if folder is None:
        return dict(variables)
    own = Path(sys.prefix) / "bin"
    kept = [each for each in variables["PATH"].split(os.pathsep) if each != str(own)]
    if sys.prefix == sys.base_prefix:
        kept = variables["PATH"].split(os.pathsep)
    path = os.pathsep.join((str(folder / "bin"), *kept))
    built = {"PATH": path, "VIRTUAL_ENV": str(folder), "CALLMESH_ENVIRONMENT": folder.name}
    return {**variables, **built}


def of_instance(
    base: Mapping[str, str],
    desired: node_pb2.DesiredInstance,
    parameters: Mapping[str, str],
    secrets_dir: Path,
) -> dict[str, str]:
    """An app instance's variables; ``parameters`` are values by name. PORT is added later."""
    instance, spec = desired.instance, desired.spec
    exported = {each.env_var: parameters[each.name] for each in spec.parameters if each.env_var}
    return {
        **base,
        **spec.image.env_vars,
        **spec.env_vars,
        **exported,
        **desired.secret_env,
        "CALLMESH_PROJECT": instance.project,
        "CALLMESH_DOMAIN": instance.domain,
        "CALLMESH_APP": instance.app,
        "CALLMESH_REVISION": str(instance.revision),
        "CALLMESH_INSTANCE_ID": instance.id,
        "CALLMESH_PARAMETERS": json.dumps(dict(parameters)),
        **_secrets_folder(desired.secret_files, secrets_dir),
    }


def of_pool(base: Mapping[str, str], recipe: Recipe, secrets_dir: Path) -> dict[str, str]:
    """What the workers of a pool and its zygote have."""
    return {
        **base,
        **recipe.env_vars,
        **recipe.secret_env,
        "CALLMESH_PROJECT": recipe.project,
        "CALLMESH_DOMAIN": recipe.domain,
        **_secrets_folder(recipe.secret_files, secrets_dir),
    }


def _secrets_folder(files: Mapping[str, bytes], folder: Path) -> dict[str, str]:
    return {"CALLMESH_SECRETS_DIR": str(folder)} if files else {}


def endpoint_parameters(
    spec: scheduler_pb2.AppSpec, endpoints: Mapping[str, str], ingress_port: int
) -> dict[str, str]:
    """The parameters that need no file: texts, and the endpoints of other apps.

    A public endpoint is for browsers: the app's host at the ingress.
    """
    values = {}
    for each in spec.parameters:
        match each.WhichOneof("value"):
            case "app_endpoint":
                name = AppName(spec.project, spec.domain, each.app_endpoint).mesh_name
                public = f"http://{name}.localhost:{ingress_port}"
                values[each.name] = public if each.public else endpoints[name]
            case "text" | None:
                values[each.name] = each.text
    return values


def command_line(spec: scheduler_pb2.AppSpec) -> list[str]:
    """The program of a command app and its arguments."""
    return command.command_line(spec.command, spec.args)


def hard_coded_port(spec: scheduler_pb2.AppSpec) -> int:
    """The declared port, if the command names it as a word of its own; 0 otherwise."""
    return spec.port if command.names_port(spec.command, spec.args, spec.port) else 0


def place_secrets(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write secret files, each readable by this user alone, by their paths below `MOUNT`.

    Files that are there already stay: somebody may be reading them. Raises
    `FailedPreconditionError` where the folder that they are put into belongs to
    somebody else.
    """
    wanted = {folder / _place_of(path): content for path, content in files.items()}
    if wanted and _is_private(folder.parent) and _holds(folder, wanted):
        return
    remove_secrets(folder)
    if not wanted:
        return
    for each in (folder.parent, folder):
        each.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not _is_private(each):
            raise FailedPreconditionError(
                f"secret files are kept in `{each}`, which others may read: remove it"
            )
    for target, content in wanted.items():
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(descriptor, "wb") as file:  # noqa: PTH123 - of a descriptor
            file.write(content)


def remove_secrets(folder: Path) -> None:
    """Remove what `place_secrets` wrote, if anything."""
    shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(OSError):
        folder.parent.rmdir()


def _is_private(folder: Path) -> bool:
    try:
        found = folder.lstat()
    except FileNotFoundError:
        return False
    return found.st_uid == os.getuid() and not stat.S_IMODE(found.st_mode) & 0o077


def _holds(folder: Path, wanted: Mapping[Path, bytes]) -> bool:
    """The folder has these files, and no others."""
    try:
        there = {each for each in folder.rglob("*") if not each.is_dir()}
        return there == set(wanted) and all(
            file.read_bytes() == content for file, content in wanted.items()
        )
    except OSError:
        return False


def _place_of(path: str) -> Path:
    found = Path(path)
    return found.relative_to(MOUNT) if found.is_relative_to(MOUNT) else Path(found.name)
