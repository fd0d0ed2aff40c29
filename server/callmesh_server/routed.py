"""Which apps are really called where the mesh says so: the nodes' Envoys have heard.

An app's newest instances are ready before every node's Envoy knows of them. In
between the app is not shown as ready: who waits for it would call the old
instances, or a port that nobody listens on yet.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

from callmesh_server.changes import AppChanged, Changes
from callmesh_server.core.world import World, app_name
from callmesh_wire.names import AppName
from callmeshpb.v1 import common_pb2, scheduler_pb2

_READY = scheduler_pb2.APP_STATE_READY
# A node whose Envoy takes longer is not waited for, where another one has the view.
PATIENCE = 30.0

log = logging.getLogger(__name__)
CallLater = Callable[[float, Callable[[], None]], object]


@dataclass(slots=True, eq=False)
class _Wait:
    """For the nodes to take the first view with this revision of an app."""

    revision: int
    version: int
    # The nodes had their time.
    is_long: bool = False


class Routed:
    """The apps that are routed to, those that are waited for, and each node's view."""

    def __init__(self, world: World, changes: Changes, call_later: CallLater) -> None:
        """``call_later`` is the event loop's."""
        self._world = world
        self._changes = changes
        self._call_later = call_later
        # The serving revision of each ready app that every node has heard of.
        self._routed: dict[AppName, int] = {}
        self._waits: dict[AppName, _Wait] = {}
        # By node: the view that its Envoy has taken.
        self._taken: dict[str, int] = {}
        self._were_ready: set[AppName] = set()

    def restore(self) -> None:
        """What is ready as the server starts was routed to before it ended."""
        for name, app in self._world.apps.items():
            if app.serving_revision:
                self._were_ready.add(name)
            if app.state == _READY:
                self._routed[name] = app.serving_revision

    def viewed(self, version: int, names: Iterable[AppName]) -> None:
        """A view of the world as it is has this version; these apps may have changed."""
        for name in names:
            app = self._world.apps.get(name)
            if app is None:
                self._were_ready.discard(name)
            if app is None or app.state != _READY:
                self.forget(name)
            elif app.serving_revision not in (self._routed.get(name), self._waited_for(name)):
                self.forget(name)
                self._waits[name] = wait = _Wait(app.serving_revision, version)
                self._call_later(PATIENCE, partial(self._give_up, name, wait))
        self._settle()

    def forget(self, name: AppName) -> None:
        """What was routed to is no longer what the app is: wait for the next view."""
        self._routed.pop(name, None)
        self._waits.pop(name, None)

    def joined(self, node: str) -> None:
        """A node has a session, and has taken nothing in it."""
        self._taken[node] = 0

    def taken(self, node: str, version: int) -> None:
        """A node's Envoy routes by this view."""
        if node in self._taken:
            self._taken[node] = version
            self._settle()

    def left(self, node: str) -> None:
        """A node's session ended: it is not waited for."""
        self._taken.pop(node, None)
        self._settle()

    def was_ready(self, name: AppName) -> bool:
        """The app was shown as ready once: callers may know its address."""
        return name in self._were_ready

    def hides(self, app: scheduler_pb2.App) -> bool:
        """The record says ready, and a call might not find it so."""
        return app.state == _READY and self._routed.get(app_name(app)) != app.serving_revision

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

    def _waited_for(self, name: AppName) -> int | None:
        wait = self._waits.get(name)
        return wait.revision if wait is not None else None

    def _give_up(self, name: AppName, wait: _Wait) -> None:
        """Wait no longer for nodes that had their time: they are the exception."""
        if self._waits.get(name) is not wait:
            return
        log.warning(
            "Envoy of %s has not taken view %d with revision %d of app `%s` within %g s",
            ", ".join(f"node `{node}`" for node in self._late(wait)),
            wait.version, wait.revision, name, PATIENCE,
        )  # fmt: skip
        wait.is_long = True
        self._settle()

    def _late(self, wait: _Wait) -> list[str]:
        return [node for node, version in self._taken.items() if version < wait.version]

    def _settle(self) -> None:
        if not self._waits:
            return
        # Without a node nothing is late.
        everywhere = min(self._taken.values(), default=sys.maxsize)
        somewhere = max(self._taken.values(), default=sys.maxsize)
        for name, wait in list(self._waits.items()):
            if wait.version <= (somewhere if wait.is_long else everywhere):
                del self._waits[name]
                self._routed[name] = wait.revision
                self._were_ready.add(name)
                self._changes.notify(AppChanged(name))
