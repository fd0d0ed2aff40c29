"""The mesh view and the desired sets: made when something changed, sent when they differ."""

from __future__ import annotations

import time

from callmesh_server.changes import Changes, ServiceChanged
from callmesh_server.core import liveness, view
from callmesh_server.core.viewlog import Change, ViewLog
from callmesh_server.core.world import DesiredKey, ViewKey, World
from callmesh_server.routed import Routed
from callmesh_server.sessions import Sessions
from callmesh_server.store.secrets import Secrets
from callmesh_server.views import Known, Views
from callmesh_server.withdrawn import Withdrawn
from callmesh_wire.names import AppName
from callmeshpb.v1 import node_pb2

# Seconds between two versions of the view: twice what it costs to send one and to hear that
# it was taken (0.3 ms a session). The first after a while goes out at once.
PER_SESSION = 0.0006
LONGEST = 1.0


class Pushes:
    """What sessions are told of the whole."""

    def __init__(
        self,
        world: World,
        sessions: Sessions,
        secrets: Secrets,
        changes: Changes,
        routed: Routed,
        epoch: int,
    ) -> None:
        self._world = world
        self._sessions = sessions
        self._secrets = secrets
        self._changes = changes
        self._routed = routed
        self._withdrawn = Withdrawn(world, sessions.push_desired)
        self.taken = self._withdrawn.taken
        self.never_tells = self._withdrawn.never_tells
        # Grows over restarts as well: an agent may compare with what it has on disk.
        self._version = epoch << 32
        self._log = ViewLog()
        self._views = Views(self._log)
        self._looked_at: set[AppName] = set()
        self._settled = False
        # A version that is on its way to those alone who are sent a desired set.
        self._unsent = True
        self._next_at = 0.0

    def push(self, key: ViewKey | DesiredKey) -> float:
        """Send what a key of the loop stands for; when to push it again, epoch seconds, or 0."""
        if isinstance(key, DesiredKey):
            self._sessions.push_desired(key.node)
        elif key.name is not None:
            self._look_at(key.name)
        else:
            return self._push_view()
        return 0.0

    def known(self, hello: node_pb2.NodeHello) -> Known:
        """The view that a node comes with."""
        return self._views.known(hello)

    def view(self, known: Known) -> tuple[node_pb2.ServerMessage | None, Known]:
        """What a session is sent of the view, and what its node knows then.

        Nothing before every node was heard.
        """
        return self._views.next(known) if self._settled else (None, known)

    def desired(self, node: str) -> node_pb2.DesiredSet:
        """Everything that the node shall run, with its secrets."""
        self._version += 1
        wanted = view.desired_set(self._world, node, self._version)
        for item in wanted.instances:
            item.called_elsewhere = self._withdrawn.is_called_elsewhere(item.instance)
            spec = item.spec
            if spec.secrets:
                values = self._secrets.values(spec.project, spec.domain, spec.secrets)
                item.secret_env.update(values.env)
                for path, content in values.files.items():
                    item.secret_files[path] = content
        return wanted

    def _look_at(self, name: AppName) -> None:
        self._looked_at.add(name)
        mesh_name = name.mesh_name
        before, after = self._log.newest(mesh_name), view.service_view(self._world, name)
        if not self._log.put(mesh_name, after):
            return
        if before is None or after is None or before.service != after.service:
            self._changes.notify(ServiceChanged(name))

    def _push_view(self) -> float:
        """Give what changed a version, and send it; when to send it, or 0."""
        self._settled = self._settled or liveness.is_settled(self._world)
        changes: list[Change] = []
        if self._log.is_waiting or not self._log.version:
            self._version += 1
            changes = self._log.commit(self._version)
            self._unsent = True
        looked_at, self._looked_at = self._looked_at, set()
        self._routed.viewed(self._log.version, looked_at)
        self._withdrawn.viewed(self._log.version, changes)
        if not self._settled or not self._unsent:
            return 0.0
        pause = self._next_at - time.monotonic()
        if pause > 0:
            return time.time() + pause
        self._unsent = False
        pause = min(LONGEST, PER_SESSION * self._sessions.push_view())
        self._next_at = time.monotonic() + pause
        return 0.0
