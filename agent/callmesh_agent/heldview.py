"""The mesh view that this node has: kept on disk, and changed by the server's deltas."""

from __future__ import annotations

from callmesh_agent.kept import Kept
from callmesh_wire.errors import UnavailableError
from callmeshpb.v1 import node_pb2


class HeldView:
    """One node's. ``view`` is to be read only."""

    def __init__(self, kept: Kept) -> None:
        """Goes on from what was kept."""
        self._kept = kept
        self.view = kept.view()

    def introduce(self, hello: node_pb2.NodeHello) -> None:
        """Say in a hello what this node has, so that it is told only what differs."""
        hello.takes_deltas = True
        tags = {each.service.mesh_name: each.tag for each in self.view.services}
        # A server without tags has sent a view that cannot be named.
        if all(tags.values()):
            hello.view_version = self.view.version
            hello.view_tags.update(tags)

    def take(self, message: node_pb2.ServerMessage) -> None:
        """Become the view, or what the delta makes of it. The message is left as it is.

        Raises `UnavailableError` for a delta against another view.
        """
        if message.HasField("mesh_view"):
            self.view.CopyFrom(message.mesh_view)
            return
        delta, view = message.mesh_delta, self.view
        if delta.from_version != view.version:
            raise UnavailableError(
                f"the server sent what is new since mesh view {delta.from_version}, and this "
                f"node has view {view.version}: it asks again"
            )
        places = {each.service.mesh_name: at for at, each in enumerate(view.services)}
        for each in delta.changed:
            at = places.get(each.service.mesh_name)
            (view.services.add() if at is None else view.services[at]).CopyFrom(each)
        gone = [places[name] for name in delta.removed if name in places]
        for at in sorted(gone, reverse=True):
            del view.services[at]
        view.version = delta.version

    def save(self) -> None:
        """Keep it as it is now, or a later one."""
        self._kept.put_view(self.view)
