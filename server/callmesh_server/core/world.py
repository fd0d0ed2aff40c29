"""The read-only picture that every decision is made from, and its indexes.

A `World` is a window on the maps of one `Ledger` (``core/ledger.py``), which is
the only thing that changes them: it costs nothing to take, and it is current
until the ledger's next change. Deciders read it, copy a record before they
change it, and return actions.

Records are protobuf messages. What is ours alone and never leaves the server's
memory (leases, indexes) is a dataclass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Protocol

from callmesh_wire.names import AppName
from callmeshpb.v1 import common_pb2, registry_pb2, scheduler_pb2


class TaskKey(NamedTuple):
    """A task in one version."""

    project: str
    domain: str
    name: str
    version: str


@dataclass(frozen=True, slots=True)
class AppKey:
    """Decide this app: ``deployments.reconcile``."""

    name: AppName


@dataclass(frozen=True, slots=True)
class RunKey:
    """Decide this run: ``runs.reconcile``."""

    name: str


@dataclass(frozen=True, slots=True)
class QueueKey:
    """A run that waits may fit now: ``runs.reconcile_queue``."""


@dataclass(frozen=True, slots=True)
class NodeKey:
    """Decide this node's lease: ``liveness.reconcile``."""

    name: str


@dataclass(frozen=True, slots=True)
class ViewKey:
    """What can be called of this name may have changed: the edge looks at ``view.service_view``.

    Without a name, which every such key implies: the view itself, and whether it
    may be sent (``liveness.is_settled``).
    """

    name: AppName | None = None


@dataclass(frozen=True, slots=True)
class DesiredKey:
    """What this node shall run may have changed: the edge pushes ``view.desired_set``."""

    node: str


Key = AppKey | RunKey | QueueKey | NodeKey | ViewKey | DesiredKey


class Ids(Protocol):
    """Where new names and fences come from; given by the loop, so that core stays pure."""

    def next_fence(self) -> common_pb2.Fence:
        """A fence later than every one before it, in this server's epoch."""
        ...

    def suffix(self) -> str:
        """Five random characters of [a-z0-9] for an instance's id."""
        ...


@dataclass(frozen=True, slots=True)
class NodeState:
    """What the server knows of a node. Times are epoch seconds.

    ``record`` is what is stored and listed: name, address, zone, labels,
    capacity, conditions, version, joined_at, away_since, drain. Its
    ``connected``, ``lost``, ``instances``, ``attempts`` and ``drain.left`` are
    filled in when it is listed.
    """

    record: scheduler_pb2.Node
    # A session is open.
    connected: bool = False
    # Which of the node's sessions in this server's life it is, from 1.
    session: int = 0
    # The agent's start that the session belongs to.
    incarnation: str = ""
    # The node counts as living until then. Any message of its session renews it.
    lease_until: float = 0.0
    # The same, without what it was granted because the server itself heard nobody.
    heard_until: float = 0.0
    # Seconds for which a message renews it.
    lease: float = 0.0
    # The lease is over: its instances and attempts do not count any more.
    lost: bool = False
    # Since its session opened, the node has reported all that it has.
    instances_complete: bool = False
    attempts_complete: bool = False
    # When it last became so for its instances.
    complete_since: float = 0.0
    # The node has reported all its instances once since this server's start,
    # so what is recorded of them is not from an earlier life.
    heard: bool = False

    @property
    def name(self) -> str:
        """The node's name."""
        return self.record.name

    @property
    def draining(self) -> bool:
        """It takes no new work, and what is on it moves elsewhere, or has."""
        return self.record.HasField("drain")


@dataclass(frozen=True, slots=True)
class Demand:
    """What a waiting run needs from a node; runs of one demand queue behind one another."""

    memory: int = 0
    cpu: float = 0.0
    gpu: str = ""
    python_version: str = ""
    # Apps that must have been ready once.
    depends_on: tuple[AppName, ...] = ()
    # How many runs it is nested in: 0 for one without a parent.
    depth: int = 0


@dataclass(frozen=True, slots=True)
class Usage:
    """What is taken of a node."""

    # Attempts that count: not those whose run waits for its children.
    slots: int = 0
    # Bytes and cores that instances and attempts reserve.
    memory: int = 0
    cpu: float = 0.0


NO_DEMAND = Demand()
NO_USAGE = Usage()
NOTHING: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class World:
    """All records that decisions need, and the indexes over them.

    ``runs`` holds those that have not ended. Their ``inputs`` may be left out:
    no decision looks at them.
    """

    apps: Mapping[AppName, scheduler_pb2.App] = field(default_factory=dict)
    instances: Mapping[str, scheduler_pb2.Instance] = field(default_factory=dict)
    nodes: Mapping[str, NodeState] = field(default_factory=dict)
    runs: Mapping[str, scheduler_pb2.Run] = field(default_factory=dict)
    tasks: Mapping[TaskKey, scheduler_pb2.Task] = field(default_factory=dict)
    # Services that others registered (RegistryService.Register), whole.
    externals: Mapping[AppName, registry_pb2.Service] = field(default_factory=dict)

    # Instance ids of an app, of a node.
    instances_of_app: Mapping[AppName, Set[str]] = field(default_factory=dict)
    instances_on_node: Mapping[str, Set[str]] = field(default_factory=dict)
    # Apps that name this one in depends_on.
    dependents: Mapping[AppName, Set[AppName]] = field(default_factory=dict)
    # Runs whose current attempt is on this node.
    runs_on_node: Mapping[str, Set[str]] = field(default_factory=dict)
    # Runs of a parent that have not ended.
    children: Mapping[str, Set[str]] = field(default_factory=dict)
    # Runs that could be dispatched: by demand, in the order of arrival. The
    # value is the number of the arrival.
    waiting: Mapping[Demand, Mapping[str, int]] = field(default_factory=dict)
    # Runs of a cache key that wait for the first of them, in the order of arrival.
    equals: Mapping[str, Mapping[str, None]] = field(default_factory=dict)
    usage: Mapping[str, Usage] = field(default_factory=dict)
    # Every node: by how many instances it has, and by its slots in use less those that it
    # has, so that the one with most free is the first.
    nodes_by_instances: Sequence[tuple[int, str]] = ()
    nodes_by_slots: Sequence[tuple[int, str]] = ()
    # Of a known task: the demand of its runs that have no parent.
    demands: Mapping[TaskKey, Demand] = field(default_factory=dict)
    # What a node has reported since its session began, until it has said that
    # it is complete: attempts as (run, epoch, counter), instances as
    # ``instances.instance_mark``.
    reported: Mapping[str, Set[tuple[str, int, int]]] = field(default_factory=dict)

    def instances_of(self, name: AppName) -> list[scheduler_pb2.Instance]:
        """The app's instances, oldest first."""
        found = [self.instances[each] for each in self.instances_of_app.get(name, NOTHING)]
        return sorted(found, key=lambda each: (fence_of(each.fence), each.id))

    def demand_of(self, run: scheduler_pb2.Run) -> Demand:
        """What the run needs from a node, and how deep it is nested."""
        demand = self.takes_of(run)
        return replace(demand, depth=self.depth_of(run)) if run.parent else demand

    def takes_of(self, run: scheduler_pb2.Run) -> Demand:
        """What the run needs from a node."""
        demand = self.demands.get(task_key(run), NO_DEMAND)
        if not run.HasField("resources"):
            return demand
        own = run.resources
        return replace(
            demand,
            memory=own.memory or demand.memory,
            cpu=own.cpu or demand.cpu,
            gpu=own.gpu or demand.gpu,
        )

    def depth_of(self, run: scheduler_pb2.Run) -> int:
        """How many runs, ended ones' ancestors not counted, it is nested in."""
        depth, above = 0, run.parent
        while above:
            depth += 1
            parent = self.runs.get(above)
            above = parent.parent if parent is not None else ""
        return depth

    def is_lost(self, node: str) -> bool:
        """Whether the node's lease is over (or the node is not known at all)."""
        state = self.nodes.get(node)
        return state is None or state.lost


def app_name(app: scheduler_pb2.App) -> AppName:
    """The full name of an app's record."""
    return AppName(app.spec.project, app.spec.domain, app.spec.name)


def app_of(instance: scheduler_pb2.Instance) -> AppName:
    """The full name of the app that an instance belongs to."""
    return AppName(instance.project, instance.domain, instance.app)


def task_key(run: scheduler_pb2.Run) -> TaskKey:
    """The key of a run's task."""
    return TaskKey(run.project, run.domain, run.task, run.task_version)


def fence_of(fence: common_pb2.Fence) -> tuple[int, int]:
    """A fence in a form that compares."""
    return fence.epoch, fence.counter
