"""Where work goes: which nodes could take it, which one does, and why the others do not.

"Cannot place" is an answer with a reason per node, not an exception.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import chain

from callmesh_server.core.revisions import hard_coded_port, spec_of
from callmesh_server.core.world import NO_USAGE, NOTHING, Demand, NodeState, World, app_of
from callmesh_wire.names import AppName
from callmeshpb.v1.scheduler_pb2 import INSTANCE_INTENT_RUN, AppSpec

# An app's record tells why it has no place: with a thousand nodes it still is a record.
MOST_REASONS = 10
NO_NODE = "no node has joined: start one with `callmesh up`"


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why a node does not take the work."""

    node: str
    # What follows "node `x` …".
    reason: str
    # It would, once other work on it has ended.
    busy: bool = False
    # It never would: it has not what is asked for.
    never: bool = False


@dataclass(frozen=True, slots=True)
class Placement:
    """The answer: a node, or why there is none."""

    # Empty: no node takes it.
    node: str = ""
    rejections: tuple[Rejection, ...] = ()

    @property
    def busy(self) -> bool:
        """Whether a node would take the work once other work has ended."""
        return any(each.busy for each in self.rejections)

    @property
    def never(self) -> bool:
        """Whether every node that there is lacks what is asked for."""
        return bool(self.rejections) and all(each.never for each in self.rejections)

    @property
    def why(self) -> str:
        """The reasons as one sentence without a full stop; of many nodes, the first ones'."""
        if not self.rejections:
            return NO_NODE
        said = [f"node `{each.node}` {each.reason}" for each in self.rejections[:MOST_REASONS]]
        more = len(self.rejections) - len(said)
        return "; ".join([*said, *([f"{more} more nodes do not take it"] if more else [])])


def node_for_run(world: World, demand: Demand) -> str:
    """The connected node with most free slots that can take an attempt; ties by name; or ""."""
    for taken, name in world.nodes_by_slots:
        if taken >= 0:
            # This one and all behind it have none free.
            return ""
        if _unfit_for_run(world, world.nodes[name], demand) is None:
            return name
    return ""


def pick_for_run(world: World, demand: Demand) -> Placement:
    """`node_for_run`, and the reasons where there is none: they cost more than the choice."""
    if node := node_for_run(world, demand):
        return Placement(node)
    rejections = (_unfit_for_run(world, state, demand) for state in world.nodes.values())
    return Placement("", tuple(each for each in rejections if each is not None))


def pick_for_instance(world: World, app: AppName, spec: AppSpec, revision: int) -> Placement:
    """The node with fewest instances that stay: of the app's revision, of the app, of all.

    Ties by name. What is on its way out says nothing about where its successor
    belongs.
    """
    instances = (world.instances[each] for each in world.instances_of_app.get(app, NOTHING))
    staying = [each for each in instances if each.intent == INSTANCE_INTENT_RUN]
    of_app = Counter(each.node for each in staying)
    of_revision = Counter(each.node for each in staying if each.revision == revision)
    here = world.instances_on_node
    order = chain(
        (name for _, name in world.nodes_by_instances if name not in of_app),
        sorted(
            of_app.keys() & world.nodes.keys(),
            key=lambda each: (of_revision[each], of_app[each], len(here[each]), each),
        ),
    )
    asked = _Asked.by(spec)
    rejections = {}
    for name in order:
        # The first that takes it is the best: none behind it is looked at.
        rejection = _unfit_for_instance(world, world.nodes[name], asked)
        if rejection is None:
            return Placement(name)
        rejections[name] = rejection
    return Placement("", tuple(rejections[name] for name in world.nodes))


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a specification asks of a node."""

    memory: int
    cpu: float
    gpu: str
    python: str
    port: int

    @classmethod
    def by(cls, spec: AppSpec) -> _Asked:
        """Read off once for all nodes."""
        asked = spec.resources
        python = spec.image.lock_python or spec.image.python_version
        return cls(asked.memory, asked.cpu, asked.gpu, python, hard_coded_port(spec))


def _unfit_for_run(world: World, state: NodeState, demand: Demand) -> Rejection | None:
    closed = _closed(state)
    if closed is not None:
        return closed
    if not state.attempts_complete:
        return Rejection(state.name, "has just connected and is still reporting", busy=True)
    slots = state.record.capacity.slots
    used = world.usage.get(state.name, NO_USAGE).slots
    unfit = _unsuitable(world, state, demand.memory, demand.cpu, demand.gpu, demand.python_version)
    if unfit is not None:
        return unfit
    if used >= slots:
        return Rejection(state.name, f"has {used} of {slots} slots in use", busy=slots > 0)
    return None


def _unfit_for_instance(world: World, state: NodeState, asked: _Asked) -> Rejection | None:
    closed = _closed(state)
    if closed is not None:
        return closed
    unfit = _unsuitable(world, state, asked.memory, asked.cpu, asked.gpu, asked.python)
    if unfit is not None:
        return unfit
    holder = _holder(world, state.name, asked.port) if asked.port else ""
    if holder:
        return Rejection(
            state.name, f"has port {asked.port} in use by instance `{holder}`", busy=True
        )
    return None


def _closed(state: NodeState) -> Rejection | None:
    if state.lost:
        return Rejection(state.name, "was lost: its lease is over")
    if not state.connected:
        return Rejection(state.name, "is not connected")
    if state.draining:
        return Rejection(state.name, "takes no new work: it is draining")
    return None


def _unsuitable(
    world: World, state: NodeState, memory: int, cpu: float, gpu: str, python: str
) -> Rejection | None:
    has = state.record.capacity
    used = world.usage.get(state.name, NO_USAGE)
    if gpu:
        return Rejection(state.name, f"has no GPU, and `{gpu}` is asked for", never=True)
    if python and not has.shared_cpu and python not in has.python_versions:
        offered = ", ".join(has.python_versions) or "none"
        return Rejection(state.name, f"lacks Python {python}; it has {offered}")
    if memory > has.memory:
        return Rejection(
            state.name,
            f"has {_size(has.memory)} memory, and {_size(memory)} is asked for",
            never=True,
        )
    if used.memory + memory > has.memory and memory:
        return Rejection(
            state.name,
            f"has {_size(has.memory - used.memory)} of {_size(has.memory)} memory unreserved, "
            f"and {_size(memory)} is asked for",
            busy=True,
        )
    if cpu and not has.shared_cpu and used.cpu + cpu > has.cpu + 1e-9:
        return Rejection(
            state.name,
            f"has {has.cpu - used.cpu:g} of {has.cpu:g} cores unreserved, "
            f"and {cpu:g} are asked for",
            busy=cpu <= has.cpu,
            never=cpu > has.cpu,
        )
    return None


def _holder(world: World, node: str, port: int) -> str:
    for identifier in sorted(world.instances_on_node.get(node, NOTHING)):
        instance = world.instances[identifier]
        app = world.apps.get(app_of(instance))
        spec = spec_of(app, instance.revision) if app is not None else None
        if spec is not None and hard_coded_port(spec) == port:
            return identifier
    return ""


def _size(count: int) -> str:
    amount = float(max(0, count))
    for unit in ("B", "KiB", "MiB"):
        if amount < 1024:
            return f"{amount:.4g} {unit}"
        amount /= 1024
    return f"{amount:.4g} GiB"
