"""Which apps are really called where the mesh says so: the nodes' Envoys have heard.

An app's newest instances are ready before every node's Envoy knows of them. In
between the app is not shown as ready: who waits for it would call the old
instances, or a port that nobody listens on yet.
"""

from __future__ import annotations

from callmesh_server.changes import AppChanged, Changes
from callmesh_server.core.world import World, app_name
from callmesh_wire.names import AppName
from callmeshpb.v1 import common_pb2, scheduler_pb2

_READY = scheduler_pb2.APP_STATE_READY


class Routed:
    """The view in which each ready app appeared, and the view that each node has taken."""

    def __init__(self, world: World, changes: Changes) -> None:
        self._world = world
        self._changes = changes
        # By app: its serving revision, and the version of the first view with it.
        self._appeared: dict[AppName, tuple[int, int]] = {}
        self._taken: dict[str, int] = {}
        self._waiting: set[AppName] = set()
        self._were_ready: set[AppName] = set()

    def restore(self) -> None:
        """What is ready as the server starts was routed to before it ended."""
        for name, app in self._world.apps.items():
            if app.serving_revision:
                self._were_ready.add(name)
            if app.state == _READY:
                self._appeared[name] = (app.serving_revision, 0)

    def viewed(self, version: int) -> None:
        """A view of the world as it is has this version."""
        for name in self._appeared.keys() - self._world.apps.keys():
            del self._appeared[name]
        self._were_ready &= self._world.apps.keys()
        for name, app in self._world.apps.items():
            if app.state != _READY:
                self._appeared.pop(name, None)
            elif self._revision(name) != app.serving_revision:
                self._appeared[name] = (app.serving_revision, version)
                self._waiting.add(name)
        self._tell()

    def joined(self, node: str) -> None:
        """A node has a session, and has taken nothing in it."""
        self._taken[node] = 0

    def taken(self, node: str, version: int) -> None:
        """A node's Envoy routes by this view."""
        if node in self._taken:
            self._taken[node] = version
            self._tell()

    def left(self, node: str) -> None:
        """A node's session ended: it is not waited for."""
        self._taken.pop(node, None)
        self._tell()

    def holds(self, app: scheduler_pb2.App) -> bool:
        """Every connected node calls what the app's record says is ready."""
        revision, version = self._appeared.get(app_name(app), (0, 0))
        return revision == app.serving_revision and version <= min(
            self._taken.values(), default=version
        )

    def was_ready(self, name: AppName) -> bool:
        """The app was shown as ready once: callers may know its address."""
        return name in self._were_ready

    def hides(self, app: scheduler_pb2.App) -> bool:
        """The record says ready, and a call might not find it so."""
        return app.state == _READY and not self.holds(app)

    def show(self, app: scheduler_pb2.App) -> None:
        """Write into a reader's own record what holds: not ready before it is routed to."""
        if not self.hides(app):
            return
        app.state = scheduler_pb2.APP_STATE_DEPLOYING
        for each in app.conditions:
            if each.type == "Ready":
                each.status = common_pb2.CONDITION_STATUS_FALSE
                each.reason = "Routing"
                each.message = f"revision {app.serving_revision} is ready and is being routed to"

    def _revision(self, name: AppName) -> int:
        return self._appeared.get(name, (0, 0))[0]

    def _tell(self) -> None:
        for name in list(self._waiting):
            app = self._world.apps.get(name)
            if app is None or self.holds(app):
                self._waiting.discard(name)
                if app is not None and app.state == _READY:
                    self._were_ready.add(name)
                self._changes.notify(AppChanged(name))
