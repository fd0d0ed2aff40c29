"""The maps behind a `World`: changed by state actions, with every index kept.

``apply`` says which keys have to be decided again, so that the knowledge of
what depends on what stands in one place: nothing waits for ever because a
handler forgot to wake somebody. A key too many costs a decision that changes
nothing; a key too few is a defect.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from typing import TypeVar

from callmesh_server.core import actions as do
from callmesh_server.core import attempts, conditions, equals, waking
from callmesh_server.core.demands import demand_of
from callmesh_server.core.revisions import spec_of
from callmesh_server.core.room import Held, Room
from callmesh_server.core.world import (
    NOTHING,
    AppKey,
    Demand,
    DesiredKey,
    Key,
    NodeKey,
    NodeState,
    QueueKey,
    RunKey,
    TaskKey,
    ViewKey,
    World,
    app_name,
    app_of,
)
from callmesh_wire.names import AppName
from callmeshpb.v1.registry_pb2 import Service
from callmeshpb.v1.scheduler_pb2 import App, Instance, Run, Task

_K = TypeVar("_K")
_V = TypeVar("_V")

QUEUE = QueueKey()
VIEW = ViewKey()


class Ledger:
    """Owns the records. One thread; ``world`` always shows the present."""

    def __init__(self) -> None:
        self._apps: dict[AppName, App] = {}
        self._instances: dict[str, Instance] = {}
        self._nodes: dict[str, NodeState] = {}
        self._runs: dict[str, Run] = {}
        self._tasks: dict[TaskKey, Task] = {}
        self._externals: dict[AppName, Service] = {}
        self._instances_of_app: dict[AppName, set[str]] = {}
        self._instances_on_node: dict[str, set[str]] = {}
        self._dependents: dict[AppName, set[AppName]] = {}
        self._runs_on_node: dict[str, set[str]] = {}
        self._children: dict[str, set[str]] = {}
        self._waiting: dict[Demand, OrderedDict[str, int]] = {}
        self._equals: dict[str, OrderedDict[str, None]] = {}
        self._room = Room()
        self._demands: dict[TaskKey, Demand] = {}
        self._reported: dict[str, set[tuple[str, int, int]]] = {}
        self._held: dict[str, Held] = {}
        self._held_by_instance: dict[str, Held] = {}
        self._queued_as: dict[str, Demand] = {}
        self._wanting: set[AppName] = set()
        self._arrivals = 0
        self.world = World(
            apps=self._apps,
            instances=self._instances,
            nodes=self._nodes,
            runs=self._runs,
            tasks=self._tasks,
            externals=self._externals,
            instances_of_app=self._instances_of_app,
            instances_on_node=self._instances_on_node,
            dependents=self._dependents,
            runs_on_node=self._runs_on_node,
            children=self._children,
            waiting=self._waiting,
            equals=self._equals,
            usage=self._room.usage,
            nodes_by_instances=self._room.by_instances.entries,
            nodes_by_slots=self._room.by_slots.entries,
            demands=self._demands,
            reported=self._reported,
        )

    def all_keys(self) -> list[Key]:
        """Every key there is: what a server decides when it starts."""
        return [
            *(NodeKey(each) for each in self._nodes),
            *(AppKey(each) for each in self._apps),
            *(RunKey(each) for each in self._runs),
            *(DesiredKey(each) for each in self._nodes),
            *(ViewKey(each) for each in self._apps.keys() | self._externals.keys()),
            QUEUE,
            VIEW,
        ]

    def apply(self, action: do.StateAction) -> list[Key]:
        """Change the records; returns the keys to decide again, each once."""
        match action:
            case do.PutRun(run):
                keys = self._put_run(run)
            case do.PutInstance(instance):
                keys = self._put_instance(instance)
            case do.PutApp(app):
                keys = self._put_app(app)
            case do.PutNode(node):
                keys = self._put_node(node)
            case do.RemoveNode(node_name):
                keys = self._remove_node(node_name)
            case do.RemoveInstance(identifier):
                keys = self._remove_instance(identifier)
            case do.RemoveApp(name):
                keys = self._remove_app(name)
            case do.NoteReported(node, run_name, fence):
                self._reported.setdefault(node, set()).add((run_name, *fence))
                keys = []
        return list(dict.fromkeys(keys))

    def put_task(self, task: Task) -> None:
        """Make a task known. Every task of a run that has not ended must be."""
        key = TaskKey(
            task.environment.project,
            task.environment.domain,
            task.spec.name,
            task.environment.version,
        )
        self._tasks[key] = task
        self._demands[key] = demand_of(task)

    def remove_task(self, key: TaskKey) -> None:
        """Forget a task that no run needs."""
        self._tasks.pop(key, None)
        self._demands.pop(key, None)

    def put_external(self, service: Service) -> list[Key]:
        """Add or replace a service that others registered."""
        name = AppName(service.project, service.domain, service.name)
        self._externals[name] = service
        return [ViewKey(name)]

    def remove_external(self, name: AppName) -> list[Key]:
        """Forget a service that others registered."""
        self._externals.pop(name, None)
        return [ViewKey(name)]

    def renew(self, node: str, lease_until: float) -> None:
        """A message of the node's session came in: its lease ends later."""
        state = self._nodes.get(node)
        if state is not None:
            self._nodes[node] = replace(state, lease_until=lease_until, heard_until=lease_until)

    # Runs

    def _put_run(self, run: Run) -> list[Key]:
        name = run.name
        known = name in self._runs
        if attempts.has_ended(run):
            return self._end_run(run) if known else []
        self._runs[name] = run
        keys: list[Key] = [] if known else [RunKey(name)]
        if run.parent and not known:
            self._children.setdefault(run.parent, set()).add(name)
            keys += self._hold(run.parent)
        if run.cache_serialize:
            self._equals.setdefault(run.cache_key, OrderedDict())[name] = None
        keys += self._hold(name)
        self._enqueue(run)
        return keys

    def _end_run(self, run: Run) -> list[Key]:
        name = run.name
        del self._runs[name]
        keys = self._hold(name)
        self._dequeue(name)
        siblings = self._children.get(run.parent)
        if siblings is not None:
            siblings.discard(name)
            if not siblings:
                del self._children[run.parent]
                self._hold(run.parent)
        return keys + self._next_of_equals(run)

    def _next_of_equals(self, ended: Run) -> list[Key]:
        group = self._equals.get(ended.cache_key) if ended.cache_serialize else None
        if group is None:
            return []
        group.pop(ended.name, None)
        if not group:
            del self._equals[ended.cache_key]
            return []
        first = next(iter(group))
        self._enqueue(self._runs[first])
        return [RunKey(first), QUEUE]

    def _hold(self, name: str) -> list[Key]:
        """Bring what the run takes of a node up to date."""
        before = self._held.get(name)
        run = self._runs.get(name)
        attempt = attempts.current(run) if run is not None else None
        after = None
        if run is not None and attempt is not None:
            demand = self.world.takes_of(run)
            after = Held(
                attempt.node, 0 if name in self._children else 1, demand.memory, demand.cpu
            )
        if before == after:
            return []
        if before is not None:
            self._take(before, -1)
            del self._held[name]
            _discard(self._runs_on_node, before.node, name)
        if after is not None:
            self._take(after, 1)
            self._held[name] = after
            self._runs_on_node.setdefault(after.node, set()).add(name)
        return [] if before is None else self._capacity_keys(before)

    def _enqueue(self, run: Run) -> None:
        name = run.name
        if not attempts.is_waiting(run) or equals.first_of(self.world, run):
            self._dequeue(name)
            return
        demand = self.world.demand_of(run)
        if self._queued_as.get(name) == demand:
            return
        self._dequeue(name)
        self._arrivals += 1
        self._waiting.setdefault(demand, OrderedDict())[name] = self._arrivals
        self._queued_as[name] = demand

    def _dequeue(self, name: str) -> None:
        demand = self._queued_as.pop(name, None)
        if demand is not None:
            queue = self._waiting[demand]
            del queue[name]
            if not queue:
                del self._waiting[demand]

    def _take(self, held: Held, sign: int) -> None:
        self._room.take(held, sign)
        self._order(held.node)

    def _order(self, node: str) -> None:
        state = self._nodes.get(node)
        if state is not None:
            self._room.order(state, len(self._instances_on_node.get(node, NOTHING)))

    def _capacity_keys(self, freed: Held) -> list[Key]:
        keys: list[Key] = [QUEUE] if self._waiting else []
        if freed.memory or freed.cpu:
            keys += self._wanting_keys()
        return keys

    def _wanting_keys(self) -> list[Key]:
        return [AppKey(each) for each in sorted(self._wanting)]

    # Apps and instances

    def _put_app(self, app: App) -> list[Key]:
        name = app_name(app)
        before = self._apps.get(name)
        if before is not None:
            self._forget_dependencies(name, before)
        self._apps[name] = app
        for each in app.spec.depends_on:
            target = AppName(name.project, name.domain, each)
            self._dependents.setdefault(target, set()).add(name)
        (self._wanting.add if waking.may_lack_instances(app) else self._wanting.discard)(name)
        same_specs = before is not None and (
            (before.revision, before.spec, before.serving_spec)
            == (app.revision, app.spec, app.serving_spec)
        )
        nodes = {self._instances[each].node for each in self._instances_of_app.get(name, NOTHING)}
        return [
            AppKey(name),
            *self._dependent_keys(name),
            ViewKey(name),
            *([] if same_specs else [DesiredKey(each) for each in sorted(nodes)]),
        ]

    def _remove_app(self, name: AppName) -> list[Key]:
        app = self._apps.pop(name, None)
        if app is None:
            return []
        self._forget_dependencies(name, app)
        self._wanting.discard(name)
        return [*self._dependent_keys(name), ViewKey(name)]

    def _forget_dependencies(self, name: AppName, app: App) -> None:
        for each in app.spec.depends_on:
            _discard(self._dependents, AppName(name.project, name.domain, each), name)

    def _dependent_keys(self, name: AppName) -> list[Key]:
        gated: list[Key] = [
            AppKey(each)
            for each in sorted(self._dependents.get(name, ()))
            if each in self._apps
            and not conditions.is_true(self._apps[each], conditions.DEPENDENCIES_READY)
        ]
        return [*gated, QUEUE] if self._waiting else gated

    def _put_instance(self, instance: Instance) -> list[Key]:
        name = app_of(instance)
        before = self._instances.get(instance.id)
        self._instances[instance.id] = instance
        keys: list[Key] = [AppKey(name), ViewKey(name)]
        if before is None:
            self._instances_of_app.setdefault(name, set()).add(instance.id)
            self._instances_on_node.setdefault(instance.node, set()).add(instance.id)
            app = self._apps.get(name)
            spec = spec_of(app, instance.revision) if app is not None else None
            held = Held(
                instance.node,
                0,
                spec.resources.memory if spec is not None else 0,
                spec.resources.cpu if spec is not None else 0.0,
            )
            self._held_by_instance[instance.id] = held
            self._take(held, 1)
        if before is None or before.intent != instance.intent:
            keys.append(DesiredKey(instance.node))
        return keys

    def _remove_instance(self, identifier: str) -> list[Key]:
        instance = self._instances.pop(identifier, None)
        if instance is None:
            return []
        name = app_of(instance)
        _discard(self._instances_of_app, name, identifier)
        _discard(self._instances_on_node, instance.node, identifier)
        held = self._held_by_instance.pop(identifier)
        self._take(held, -1)
        # A fixed port may have become free: that is not in `held`.
        return [
            AppKey(name),
            ViewKey(name),
            DesiredKey(instance.node),
            *self._capacity_keys(held),
            *self._wanting_keys(),
        ]

    # Nodes

    def _put_node(self, node: NodeState) -> list[Key]:
        before = self._nodes.get(node.name)
        self._nodes[node.name] = node
        self._order(node.name)
        anew = before is None or before.session != node.session
        if anew or (node.instances_complete and node.attempts_complete):
            self._reported.pop(node.name, None)
        keys: list[Key] = [NodeKey(node.name)]
        if anew:
            keys.append(DesiredKey(node.name))
        here = {
            app_of(self._instances[each])
            for each in self._instances_on_node.get(node.name, NOTHING)
        }
        if before is None or waking.shown(before) != waking.shown(node):
            keys += [*(ViewKey(each) for each in sorted(here)), VIEW]
        if before is None or waking.room(before) != waking.room(node):
            here |= self._wanting
        keys += [AppKey(each) for each in sorted(here)]
        return [*keys, QUEUE] if self._waiting else keys

    def _remove_node(self, name: str) -> list[Key]:
        self._nodes.pop(name, None)
        self._reported.pop(name, None)
        self._room.forget(name)
        # Why something waits names every node.
        return [VIEW, *self._wanting_keys(), *([QUEUE] if self._waiting else [])]


def _discard(index: dict[_K, set[_V]], key: _K, value: _V) -> None:
    members = index.get(key)
    if members is not None:
        members.discard(value)
        if not members:
            del index[key]
