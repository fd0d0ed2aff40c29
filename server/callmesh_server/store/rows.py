"""What the database is asked for and answers, without SQLAlchemy."""

from __future__ import annotations

from dataclasses import dataclass, field

from callmeshpb.v1 import registry_pb2, scheduler_pb2


@dataclass(frozen=True, slots=True)
class MeshPortRow:
    """A mesh port; ``released_at`` is 0 while it is in use."""

    port: int
    mesh_name: str
    released_at: float


@dataclass(frozen=True, slots=True)
class ExternalRow:
    """A registered instance and its lease in seconds."""

    request: registry_pb2.RegisterRequest
    lease: float


@dataclass(frozen=True, slots=True)
class SecretRow:
    """A secret without its value."""

    project: str
    domain: str
    name: str
    created_at: float
    updated_at: float


@dataclass(frozen=True, slots=True)
class RunFilter:
    """Which runs a list shows; what is empty or None does not narrow it."""

    scope: tuple[str, str] | None = None
    task: str = ""
    parent: str = ""
    phases: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class NumberedRun:
    """A run without values, and its number in the order of recording."""

    number: int
    run: scheduler_pb2.Run


@dataclass(frozen=True, slots=True)
class Loaded:
    """What the server keeps in memory, as it was on disk at its start."""

    epoch: int
    apps: list[scheduler_pb2.App] = field(default_factory=list)
    instances: list[scheduler_pb2.Instance] = field(default_factory=list)
    nodes: list[scheduler_pb2.Node] = field(default_factory=list)
    ports: list[MeshPortRow] = field(default_factory=list)
    externals: list[ExternalRow] = field(default_factory=list)
    # The newest deployed version of each, and those of unfinished runs.
    tasks: list[scheduler_pb2.Task] = field(default_factory=list)
    newest: list[scheduler_pb2.Task] = field(default_factory=list)
    # Unfinished, with inputs, and the request id of each.
    runs: list[scheduler_pb2.Run] = field(default_factory=list)
    request_ids: dict[str, str] = field(default_factory=dict)
