"""Gathers the facts for `doctor`: looks, and changes nothing."""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import os
import resource
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from callmesh_up import record
from callmesh_up.facts import (
    Facts,
    Folder,
    Machine,
    MeshFacts,
    NodeFacts,
    Port,
    Requirement,
    Software,
    State,
)
from callmesh_up.layout import LONGEST_SOCKET, Layout
from callmesh_up.options import DEFAULT_API_PORT, DEFAULT_INGRESS_PORT

ENVOY_TIMEOUT = 20.0
IMPORT_TIMEOUT = 60.0
MESH_TIMEOUT = 5.0
_PROXIES = ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "grpc_proxy")
_EXTRAS = ("", "server", "agent", "fastapi", "dev")


def facts(layout: Layout, environ: Mapping[str, str]) -> Facts:
    """Everything that can be known without changing anything."""
    is_running = record.is_running(layout)
    return Facts(
        software=software(environ),
        machine=machine(layout, environ),
        state=state(layout, is_running=is_running),
        ports=ports(layout, is_running=is_running),
        mesh=mesh(),
    )


def software(environ: Mapping[str, str]) -> Software:
    """The interpreter, the packages and Envoy."""
    envoy, envoy_version, envoy_problem = _envoy(environ)
    return Software(
        python=sys.version.split()[0],
        is_python_supported=sys.version_info >= (3, 11),
        callmesh=importlib.metadata.version("callmesh"),
        requirements=_requirements(),
        protobuf_problem=_import_problem("callmeshpb.v1.scheduler_pb2"),
        grpc_problem=_import_problem("grpc"),
        envoy=envoy,
        envoy_version=envoy_version,
        envoy_problem=envoy_problem,
    )


def _requirements() -> tuple[Requirement, ...]:
    from packaging.requirements import Requirement as Parsed

    found = []
    for text in importlib.metadata.requires("callmesh") or ():
        parsed = Parsed(text)
        if parsed.name == "callmesh":
            continue
        extras = [
            extra
            for extra in _EXTRAS
            if parsed.marker is None or parsed.marker.evaluate({"extra": extra})
        ]
        if not extras:
            continue
        try:
            version = importlib.metadata.version(parsed.name)
        except importlib.metadata.PackageNotFoundError:
            version = None
        fits = version is not None and parsed.specifier.contains(version, prereleases=True)
        shown = f"{parsed.name}{parsed.specifier}"
        found.append(Requirement(shown, extras[0], version, fits))
    return tuple(found)


def _import_problem(name: str) -> str:
    """Why a module cannot be imported; a mismatch of versions is an exception of its own."""
    code = f"import {name}"
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-c", code],
            capture_output=True,
            text=True,
            timeout=IMPORT_TIMEOUT,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"its import takes over {IMPORT_TIMEOUT:.0f} s"
    lines = done.stderr.strip().splitlines()
    return (lines[-1] if lines else f"exit code {done.returncode}") if done.returncode else ""


def _envoy(environ: Mapping[str, str]) -> tuple[str, str, str]:
    """Its path and version, or why there is none that runs."""
    from callmesh_agent.envoy import find_binary
    from callmesh_wire.errors import FailedPreconditionError

    try:
        binary = find_binary(environ)
    except FailedPreconditionError as problem:
        return "", "", problem.message.partition(": ")[0]
    try:
        done = subprocess.run(
            [binary, "--version"],
            capture_output=True,
            text=True,
            timeout=ENVOY_TIMEOUT,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as problem:
        return binary, "", f"`{binary}` does not run: {problem}"
    if done.returncode:
        said = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        return binary, "", f"`{binary}` does not run: {said}"
    words = done.stdout.split("version:")[-1].strip().split("/")
    return binary, words[1] if len(words) > 1 else words[0], ""


def machine(layout: Layout, environ: Mapping[str, str]) -> Machine:
    """Limits and settings."""
    _, open_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    processes, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    inotify = Path("/proc/sys/fs/inotify")
    return Machine(
        open_files=open_files,
        processes=processes,
        watches=_number(inotify / "max_user_watches"),
        inotify_instances=_number(inotify / "max_user_instances"),
        localhost=_addresses("callmesh-doctor.localhost"),
        proxies=tuple(name for name in _PROXIES if environ.get(name)),
        no_proxy=environ.get("no_proxy") or environ.get("NO_PROXY", ""),
        ahead=_ahead(layout),
    )


def _number(path: Path) -> int:
    """A number of the kernel's; -1 where it tells none."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return -1


def _addresses(name: str) -> tuple[str, ...]:
    try:
        found = socket.getaddrinfo(name, 80, type=socket.SOCK_STREAM)
    except OSError:
        return ()
    return tuple(sorted({str(each[4][0]) for each in found}))


def _ahead(layout: Layout) -> float:
    newest = 0.0
    for path in (
        layout.record,
        layout.log,
        layout.server / "mesh.db",
        layout.agent / "view.sealed",
    ):
        with contextlib.suppress(OSError):
            newest = max(newest, path.stat().st_mtime)
    return newest - time.time() if newest else 0.0


def state(layout: Layout, *, is_running: bool) -> State:
    """The folders of the mesh, its store and its processes."""
    schema, known = _schema(layout.server / "mesh.db")
    return State(
        folder=_folder(layout.state),
        runtime=_folder(layout.runtime),
        socket_path=str(layout.runtime / LONGEST_SOCKET),
        is_running=is_running,
        pid=record.holder(layout),
        schema=schema,
        known_schemas=known,
        sizes=_sizes(layout),
        leftovers=() if is_running else _processes(layout),
    )


def _folder(path: Path) -> Folder:
    try:
        found = path.stat()
    except OSError:
        return Folder(str(path), exists=False)
    disk = os.statvfs(path)
    return Folder(
        path=str(path),
        exists=True,
        is_writable=os.access(path, os.W_OK | os.X_OK),
        is_own=found.st_uid == os.getuid(),
        mode=found.st_mode & 0o777,
        free=disk.f_bavail * disk.f_frsize,
    )


def _schema(store: Path) -> tuple[str, tuple[str, ...]]:
    """The store's schema, and those that this code knows how to go on from."""
    try:
        from callmesh_server.store import migrations, schema
    except ImportError:
        return "", ()
    folder = Path(migrations.__path__[0]) / "versions"
    known = {schema.HEAD, *(each.name.partition("_")[0] for each in folder.glob("[0-9]*.py"))}
    try:
        with contextlib.closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as database:
            row = database.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.Error:
        return "", tuple(known)
    return (row[0] if row else ""), tuple(known)


def _sizes(layout: Layout) -> dict[str, int]:
    """Bytes on disk of each part: every folder and file of the server's and the agent's."""
    found: dict[str, int] = {}
    for folder in (layout.server, layout.agent):
        if folder.is_dir():
            for each in folder.iterdir():
                name = each.name.partition("-")[0]
                found[name] = found.get(name, 0) + _size(each)
    return found


def _size(path: Path) -> int:
    if not path.is_dir() or path.is_symlink():
        with contextlib.suppress(OSError):
            return path.lstat().st_blocks * 512
        return 0
    total = 0
    for folder, _, names in os.walk(path):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(f"{folder}/{name}").st_blocks * 512
    return total


def _processes(layout: Layout) -> tuple[str, ...]:
    """This user's processes that belong to the folders of a mesh."""
    marks = (str(layout.state).encode(), str(layout.runtime).encode())
    found = []
    for name in os.listdir("/proc"):  # noqa: PTH208 - fast
        if not name.isdigit() or int(name) == os.getpid():
            continue
        try:
            line = Path(f"/proc/{name}/cmdline").read_bytes()
            variables = Path(f"/proc/{name}/environ").read_bytes().split(b"\0")
        except OSError:
            continue
        own = [each for each in variables if each.startswith(b"CALLMESH_WORKLOAD_SOCKET=")]
        words = line.split(b"\0")
        if any(_is_in(word, mark) for word in (*words, *own) for mark in marks):
            program = os.fsdecode(words[0]).rsplit("/", 1)[-1]
            found.append(f"{name} (`{program}`)")
    return tuple(found)


def _is_in(word: bytes, folder: bytes) -> bool:
    """A word names a path under a folder, alone or behind a `=`."""
    return word.endswith(folder) or folder + b"/" in word


def ports(layout: Layout, *, is_running: bool) -> tuple[Port, ...]:
    """The ports of the mesh that runs, or those that the next one would take."""
    before = record.read(layout) if is_running else None
    if is_running and before is None:
        # A node alone, which writes no record.
        return ()
    api = before.api_port if before else DEFAULT_API_PORT
    ingress = before.ingress_port if before else DEFAULT_INGRESS_PORT
    of_api = _port(layout, api, "the API", "--port", before)
    if before and not layout.supervisor_socket.exists():
        # A control plane alone: the ingresses are its nodes'.
        return (of_api,)
    return (of_api, _port(layout, ingress, "browsers", "--ingress-port", before))


def _port(layout: Layout, number: int, use: str, flag: str, running: record.Record | None) -> Port:
    from callmesh_agent.ports import holder

    found = holder(number)
    if found is None:
        return Port(number, use, flag)
    own = {str(running.pid), *(each.split()[0] for each in _processes(layout))} if running else ()
    return Port(number, use, flag, str(found), is_held_by_mesh=str(found.pid) in own)


def mesh() -> MeshFacts | None:
    """What the mesh that the CLI would use answers; None where there is none."""
    from callmesh import settings
    from callmesh.cli import mesh as meshes
    from callmesh.cli import shapes
    from callmesh.errors import InitializationError
    from callmesh.remote.app import failure_text
    from callmesh_wire.errors import CallmeshError
    from callmesh_wire.nodes import node_state
    from callmeshpb.v1 import common_pb2

    try:
        found = settings.find()
    except InitializationError:
        return None
    settings.use(found)
    assert found.place is not None
    connected = meshes.Mesh(found)
    try:
        server = connected.server(timeout=MESH_TIMEOUT)
        nodes = connected.nodes()
        apps = connected.apps(all_scopes=True)
    except CallmeshError as problem:
        return MeshFacts(found.place.target, problem=problem.message)
    return MeshFacts(
        target=found.place.target,
        version=server.version,
        nodes=tuple(
            NodeFacts(
                each.name,
                node_state(each),
                each.version,
                next(
                    (
                        condition.message
                        for condition in each.conditions
                        if condition.status == common_pb2.CONDITION_STATUS_FALSE
                    ),
                    "",
                ),
            )
            for each in nodes
        ),
        failed_apps={
            each.spec.name: failure_text(each).splitlines()[0].partition(" failed: ")[2]
            for each in apps
            if shapes.app_state(each) == "failed"
        },
        apps=len(apps),
        waiting_apps=tuple(
            each.spec.name
            for each in apps
            if shapes.app_state(each) not in ("ready", "failed", "inactive")
        ),
    )
