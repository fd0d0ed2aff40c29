"""Everything that the agent knows and decides by: frozen values.

Protobuf messages in it are records: they are replaced, never changed. What
changes with every run is a named tuple, which costs a third of a dataclass to
replace.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from callmeshpb.v1 import common_pb2, node_pb2, supervisor_pb2

BASE = "base"
"""Id of the node's own interpreter's zygote that knows no user code."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds, unless another unit is said."""

    # From start to ready, where the app does not say.
    startup: float = 60.0
    # For calls in flight, where the app does not say.
    drain: float = 30.0
    # For other nodes to hear that an instance goes, before it refuses their calls.
    yielding: float = 20.0
    # From TERM to KILL.
    kill: float = 10.0
    # After so long in health, a crash is the first one again.
    forget_crashes: float = 300.0
    # For workers to come back to a new agent.
    settle: float = 5.0
    # For the reports that follow a worker's hello.
    hello: float = 0.1
    # From a worker's start to its connection; for a broken one to come back.
    worker_start: float = 30.0
    worker_return: float = 5.0
    # A worker or a task zygote that nobody used ends.
    worker_idle: float = 600.0
    zygote_idle: float = 900.0
    # For the user's imports.
    zygote_import: float = 300.0
    # Attempts by one worker.
    worker_runs: int = 1000
    # Bytes: growth over what a worker had after its first measurement; its log.
    worker_growth: int = 256 * 1024 * 1024
    worker_log: int = 64 * 1024 * 1024
    # Of each: zygotes of pools, base zygotes of built environments; workers
    # that wait for work, and workers in all.
    zygotes: int = 8
    idle_workers: int = 8
    workers: int = 512


class Phase(Enum):
    """Where an instance is on its way."""

    PENDING = "pending"
    PREPARING = "preparing"
    STARTING = "starting"
    PROBING = "probing"
    READY = "ready"
    UNHEALTHY = "unhealthy"
    BACKOFF = "backoff"
    YIELDING = "yielding"
    LEAVING = "leaving"
    EMPTYING = "emptying"
    TERMINATING = "terminating"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Instance:
    """One instance: what is wanted of it and what its process does."""

    id: str
    phase: Phase
    since: float
    # None: adopted, and the server has not said yet what it shall be.
    desired: node_pb2.DesiredInstance | None = None
    # The server has said everything, and this was not in it.
    unwanted: bool = False
    # Hash of the specification that the process was started with.
    spec_hash: str = ""
    process: supervisor_pb2.Process | None = None
    # Grows with every start: what concerns an earlier process is ignored.
    generation: int = 0
    # When the phase's time is up.
    wake_at: float | None = None
    address: str = ""
    port: int = 0
    exposed: bool = False
    ready_since: float | None = None
    # It is being ended because it failed, not because somebody wants it gone.
    failing: bool = False
    restarts: int = 0
    # When its code and environment were there.
    prepared_at: float | None = None
    # Starts in a row that failed; crashes in a row, for the backoff.
    failures: int = 0
    crashes: int = 0
    message: str = ""
    last_exit: str = ""
    log_tail: tuple[str, ...] = ()


class AttemptKey(NamedTuple):
    """An attempt is its run and its fence."""

    run: str
    epoch: int
    counter: int


class Stage(Enum):
    """Where an attempt is on its way."""

    # Needs code, a zygote or a worker.
    WAITING = "waiting"
    # A worker has the order.
    PREPARED = "prepared"
    RUNNING = "running"
    # Its report is kept until acknowledged.
    ENDED = "ended"


class Attempt(NamedTuple):
    """One attempt that this node was given, or that a worker came back with."""

    key: AttemptKey
    stage: Stage
    # What the server shall know; replaced by each report of the worker.
    report: node_pb2.AttemptReport
    pool: str = ""
    # None: adopted from a worker after a restart of the agent.
    order: node_pb2.AttemptOrder | None = None
    worker: str = ""
    # The run is committed.
    released: bool = False
    # Why it is being ended, or empty.
    stopping: str = ""
    # Its end is on disk.
    spooled: bool = False

    @property
    def fresh(self) -> bool:
        """It wants a process of its own."""
        return self.order is not None and self.order.task.spec.fresh


class Worker(NamedTuple):
    """One task worker."""

    id: str
    pool: str
    started: bool = False
    connected: bool = False
    # It lived before this agent; and it has not spoken yet.
    adopted: bool = False
    awaited: bool = False
    # Of an adopted one: the bundle and the environment that it runs on.
    holds: tuple[str, ...] = ()
    attempt: AttemptKey | None = None
    # Only this attempt may have it.
    reserved: AttemptKey | None = None
    runs: int = 0
    # It was told to end and gets nothing more.
    retiring: bool = False
    first_rss: int = 0
    # It has outgrown its limits, or runs an older installation of the mesh.
    overgrown: bool = False
    idle_since: float = 0.0
    wake_at: float | None = None

    @property
    def idle(self) -> bool:
        """It can take an attempt now."""
        return self.connected and self.attempt is None and not self.retiring


class ZygotePhase(Enum):
    """What can be done with a zygote."""

    IMPORTING = "importing"
    READY = "ready"
    # The module opened what does not survive a fork: spawn instead.
    SPAWN = "spawn"
    ENDING = "ending"


@dataclass(frozen=True, slots=True)
class Zygote:
    """A process from which others are forked; ``pool`` is empty for a base."""

    id: str
    pool: str
    phase: ZygotePhase
    # Key of the virtual environment that it runs in; empty: the node's interpreter.
    environment: str = ""
    message: str = ""
    used_at: float = 0.0
    wake_at: float | None = None


@dataclass(frozen=True, slots=True)
class Recipe:
    """What the processes of a pool have in common."""

    project: str
    domain: str
    environment: str
    version: str
    code: common_pb2.Code
    image: common_pb2.Image
    env_vars: Mapping[str, str]
    secret_env: Mapping[str, str]
    secret_files: Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class Pool:
    """Interchangeable workers: same code, version, variables and secrets."""

    key: str
    recipe: Recipe
    # Processes in a row that ended before they were of use.
    failures: int = 0
    # Why its workers are spawned and not forked, or empty.
    spawn_because: str = ""


class BundleState(Enum):
    """Code on this node's disk."""

    UNPACKING = "unpacking"
    HERE = "here"


@dataclass(frozen=True, slots=True)
class Environment:
    """A virtual environment that something needs."""

    here: bool = False
    # How far it is built.
    message: str = ""


@dataclass(frozen=True, slots=True)
class State:
    """The agent's whole memory of its node."""

    # Makes ids of this agent's life unlike those of every other.
    incarnation: str
    # Of what a zygote has in memory: one with another hash is of an older installation.
    base_hash: str = ""
    # Platform and callmesh itself, on which every built environment depends.
    installation: str = ""
    limits: Limits = field(default_factory=Limits)
    instances: Mapping[str, Instance] = field(default_factory=dict)
    attempts: Mapping[AttemptKey, Attempt] = field(default_factory=dict)
    workers: Mapping[str, Worker] = field(default_factory=dict)
    zygotes: Mapping[str, Zygote] = field(default_factory=dict)
    pools: Mapping[str, Pool] = field(default_factory=dict)
    bundles: Mapping[str, BundleState] = field(default_factory=dict)
    environments: Mapping[str, Environment] = field(default_factory=dict)
    endpoints: Mapping[str, str] = field(default_factory=dict)
    # Ids given away so far.
    serial: int = 0
    # A supervisor answers, and its processes are known.
    supervised: bool = False
    # Workers of before have come back, or their time is up.
    settled: bool = False
    session: bool = False
    # Of the desired set that this session sent last; 0: none yet.
    desired_version: int = 0
    # Starts of a base zygote in a row that failed, by environment.
    base_failures: Mapping[str, int] = field(default_factory=dict)
    # The base zygote is kept running, whether something needs it now or not.
    warm: bool = False
