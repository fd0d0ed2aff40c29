"""The server's disk: writes are committed in order, a little later; a crash loses the rest.

Stands for the server's `store`.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from sim_checks import Checks
from sim_clock import Clock

from callmesh_server.core import actions as do
from callmesh_server.core.world import app_name
from callmesh_wire.names import AppName
from callmeshpb.v1 import scheduler_pb2 as pb


@dataclass(slots=True)
class Disk:
    """What survives. `write` groups are atomic."""

    clock: Clock
    rng: random.Random
    checks: Checks
    epoch: int = 0
    apps: dict[AppName, pb.App] = field(default_factory=dict)
    instances: dict[str, pb.Instance] = field(default_factory=dict)
    nodes: dict[str, pb.Node] = field(default_factory=dict)
    runs: dict[str, pb.Run] = field(default_factory=dict)
    _waiting: deque[tuple[list[do.StateAction], Callable[[], None]]] = field(default_factory=deque)
    _busy: bool = False
    _life: int = 0

    def write(self, group: list[do.StateAction], done: Callable[[], None]) -> None:
        self._waiting.append((group, done))
        if not self._busy:
            self._begin()

    def crash(self) -> None:
        """What is not committed is lost."""
        self._waiting.clear()
        self._busy = False
        self._life += 1

    def _begin(self) -> None:
        """Commit what waits now, in one transaction; one in thirty takes its time."""
        self._busy = True
        slow = self.rng.random() < 1 / 30
        takes = self.rng.uniform(0.05, 0.6) if slow else self.rng.uniform(0.0002, 0.003)
        life, count = self._life, len(self._waiting)
        self.clock.after(takes, lambda: self._commit(life, count))

    def _commit(self, life: int, count: int) -> None:
        if life != self._life:
            return
        groups = [self._waiting.popleft() for _ in range(count)]
        for group, _ in groups:
            for action in group:
                self._put(action)
        self._busy = False
        for _, done in groups:
            done()
        if self._waiting and not self._busy:
            self._begin()

    def _put(self, action: do.StateAction) -> None:
        match action:
            case do.PutApp(app):
                self.apps[app_name(app)] = app
            case do.RemoveApp(name):
                self.apps.pop(name, None)
            case do.PutInstance(instance):
                self.instances[instance.id] = instance
            case do.RemoveInstance(identifier):
                self.instances.pop(identifier, None)
            case do.PutNode(node):
                self.nodes[node.name] = node.record
            case do.PutRun(run):
                self.checks.committed(run)
                self.runs[run.name] = run
