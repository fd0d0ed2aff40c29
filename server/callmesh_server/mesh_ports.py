"""The mesh ports that were given, in memory and in the store."""

from __future__ import annotations

import secrets
import time
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
        # A mesh that has given ports goes on where it began.
        known = sorted([*self._taken.values(), *self._tombstones])
        self._start = known[0] - ports.FIRST if known else secrets.randbelow(ports.COUNT)

    def assign(self, name: AppName) -> tuple[int, list[Change]]:
        """The port of an app or service, its own again if it had one."""
        before = self._taken.get(name)
        if before is not None:
            return before, []
        port = ports.assign(name, self._taken, self._tombstones, frozenset(), self._start)
        self._taken[name] = port
        self._tombstones.pop(port, None)
        return port, [self._records.put_port(port, name.mesh_name, 0.0)]

    def release(self, name: AppName) -> list[Change]:
        """The app is gone: its port becomes a tombstone."""
        port = self._taken.pop(name, None)
        if port is None:
            return []
        now = time.time()
        self._tombstones[port] = ports.Tombstone(name, now)
        return [self._records.put_port(port, name.mesh_name, now)]
