"""The mesh ports that were given, in memory and in the store."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from callmesh_server import ports
from callmesh_wire.names import AppName

if TYPE_CHECKING:
    from callmesh_server.store.database import Database
    from callmesh_server.store.writer import Change


class MeshPorts:
    """Gives and takes back ports; the caller writes the changes that come with it."""

    def __init__(self, database: Database) -> None:
        self._records = database.records
        self._taken: dict[AppName, int] = {}
        self._tombstones: dict[int, ports.Tombstone] = {}
        for row in database.loaded.ports:
            name = AppName.from_mesh_name(row.mesh_name)
            if row.released_at:
                self._tombstones[row.port] = ports.Tombstone(name, row.released_at)
            else:
                self._taken[name] = row.port
        # Ports that a node cannot bind, by node.
        self._refused: dict[str, frozenset[int]] = {}
        # A mesh that has given ports goes on where it began.
        known = sorted([*self._taken.values(), *self._tombstones])
        self._start = known[0] - ports.FIRST if known else secrets.randbelow(ports.COUNT)

    def assign(self, name: AppName) -> tuple[int, list[Change]]:
        """The port of an app or service, its own again if it had one."""
        before = self._taken.get(name)
        if before is not None:
            return before, []
        refused = frozenset().union(*self._refused.values())
        port = ports.assign(name, self._taken, self._tombstones, refused, self._start)
        self._taken[name] = port
        self._tombstones.pop(port, None)
        return port, [self._records.put_port(port, name.mesh_name, 0.0)]

    def refused(self, node: str, refused: Iterable[int]) -> None:
        """Ports that a node cannot bind now: all of them; none of one that has left."""
        self._refused[node] = frozenset(refused)
        if not self._refused[node]:
            del self._refused[node]

    def reassign(self, name: AppName) -> tuple[int, list[Change]]:
        """Another port than the one that somebody else has; the old one becomes a tombstone."""
        released = self.release(name)
        port, changes = self.assign(name)
        return port, [*released, *changes]

    def release(self, name: AppName) -> list[Change]:
        """The app is gone: its port becomes a tombstone."""
        port = self._taken.pop(name, None)
        if port is None:
            return []
        now = time.time()
        self._tombstones[port] = ports.Tombstone(name, now)
        return [self._records.put_port(port, name.mesh_name, now)]
