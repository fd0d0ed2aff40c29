"""What `doctor` knows of a machine and of a mesh: facts, without a judgement."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Requirement:
    """One package that callmesh asks for; ``installed`` is its version, or None.

    ``extra`` is empty for the base install. ``fits`` says whether the version
    is one that is asked for.
    """

    text: str
    extra: str
    installed: str | None
    fits: bool


@dataclass(frozen=True, slots=True)
class Software:
    """The interpreter and what is installed in it. Problems are exceptions' texts, or ""."""

    python: str
    is_python_supported: bool
    callmesh: str
    requirements: tuple[Requirement, ...]
    protobuf_problem: str = ""
    grpc_problem: str = ""
    envoy: str = ""
    envoy_version: str = ""
    envoy_problem: str = ""

    @property
    def is_client_alone(self) -> bool:
        """It is not installed for running a mesh."""
        return any(each.extra == "agent" and not each.installed for each in self.requirements)


@dataclass(frozen=True, slots=True)
class Folder:
    """One folder. ``mode`` are permission bits; sizes are bytes."""

    path: str
    exists: bool
    is_writable: bool = True
    is_own: bool = True
    mode: int = 0o700
    free: int = 0


@dataclass(frozen=True, slots=True)
class Port:
    """A port that a mesh has or would have. ``holder`` is empty where it is free."""

    number: int
    use: str
    flag: str
    holder: str = ""
    is_held_by_mesh: bool = False


@dataclass(frozen=True, slots=True)
class Machine:
    """Limits and settings of the machine and of this user's session.

    ``localhost`` are the addresses of a name under `localhost`; ``ahead`` is by
    how many seconds the newest file of the state folder is in the future.
    """

    open_files: int
    processes: int
    watches: int
    inotify_instances: int
    localhost: tuple[str, ...]
    proxies: tuple[str, ...]
    no_proxy: str
    ahead: float = 0.0


@dataclass(frozen=True, slots=True)
class State:
    """The state folder's mesh. ``schema`` is that of its store, ``newest_schema`` this code's.

    ``sizes`` are bytes by the name of a part; ``leftovers`` are processes.
    """

    folder: Folder
    runtime: Folder
    socket_path: str
    is_running: bool
    pid: int = 0
    schema: str = ""
    known_schemas: tuple[str, ...] = ()
    sizes: Mapping[str, int] = field(default_factory=dict)
    leftovers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """One node and why it is not well, or ""."""

    name: str
    # As `callmesh get nodes` shows it.
    state: str
    version: str
    complaint: str = ""


@dataclass(frozen=True, slots=True)
class MeshFacts:
    """What a mesh answers. ``problem`` is set where it does not."""

    target: str
    problem: str = ""
    version: str = ""
    nodes: tuple[NodeFacts, ...] = ()
    failed_apps: Mapping[str, str] = field(default_factory=dict)
    apps: int = 0
    # Neither ready nor failed nor switched off.
    waiting_apps: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything. ``mesh`` is None where there is none to ask."""

    software: Software
    machine: Machine
    state: State
    ports: tuple[Port, ...]
    mesh: MeshFacts | None
