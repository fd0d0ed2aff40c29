"""The mesh view and the desired sets: made when something changed, sent when they differ."""

from __future__ import annotations

from callmesh_server.changes import Changes, ServiceChanged
from callmesh_server.core import liveness, view
from callmesh_server.core.world import DesiredKey, ViewKey, World
from callmesh_server.routed import Routed
from callmesh_server.sessions import Sessions
from callmesh_server.store.secrets import Secrets
from callmesh_server.withdrawn import Withdrawn
from callmesh_wire.names import AppName
from callmeshpb.v1 import node_pb2, registry_pb2


class Pushes:
    """What sessions are sent in full."""

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
        self._view = node_pb2.MeshView()
        self._services: dict[AppName, registry_pb2.Service] = {}
        self._settled = False

    @property
    def version(self) -> int:
        """Of the newest view or set."""
        return self._version

    def push(self, key: ViewKey | DesiredKey) -> None:
        """Send what a key of the loop stands for."""
        if isinstance(key, DesiredKey):
            self._sessions.push_desired(key.node)
        else:
            self._push_view()

    def view(self) -> node_pb2.MeshView | None:
        """The view for a session that begins, or None before every node was heard."""
        self._refresh()
        return self._view if self._settled else None

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

    def _push_view(self) -> None:
        was_settled = self._settled
        changed = self._refresh()
        if self._settled and (changed or not was_settled):
            self._sessions.push_view(self._view)

    def _refresh(self) -> bool:
        """Bring the view up to date; whether it differs from before."""
        self._settled = self._settled or liveness.is_settled(self._world)
        fresh = view.mesh_view(self._world, self._view.version)
        changed = fresh != self._view or not self._view.version
        if changed:
            self._version += 1
            fresh.version = self._version
            self._view = fresh
            self._tell(fresh)
        self._routed.viewed(self._view.version)
        self._withdrawn.viewed(self._view)
        return changed

    def _tell(self, fresh: node_pb2.MeshView) -> None:
        services = {
            AppName(s.project, s.domain, s.name): s for s in (v.service for v in fresh.services)
        }
        before, self._services = self._services, services
        for name in before.keys() | services.keys():
            if before.get(name) != services.get(name):
                self._changes.notify(ServiceChanged(name))
