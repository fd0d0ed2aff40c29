"""Mesh ports: which port of every node leads to an app. Pure.

An app keeps its port for as long as it exists, and gets it back when it is
deployed again after a deletion, as long as nobody else needed it. A deleted
app's port is a *tombstone*, given to another app only when no other is left,
the oldest first: what still calls it must not reach a stranger.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass

from callmesh_wire.errors import ExhaustedError
from callmesh_wire.names import AppName

# Below Linux' ephemeral range (32768 and up), above what programs use by habit.
FIRST = 20_000
LAST = 29_999
COUNT = LAST - FIRST + 1


@dataclass(frozen=True, slots=True)
class Tombstone:
    """A deleted app's port."""

    app: AppName
    # Epoch seconds.
    deleted_at: float


def assign(
    app: AppName,
    taken: Mapping[AppName, int],
    tombstones: Mapping[int, Tombstone],
    conflicts: Set[int],
    start: int,
) -> int:
    """The mesh port of ``app``.

    ``taken`` are the ports of the apps that exist; one that is in it keeps its
    own. ``conflicts`` are ports that a node cannot bind. ``start`` is this
    mesh's offset in [0, `COUNT`), drawn once at random, so that two meshes on
    one machine seldom meet. Raises `ExhaustedError` when no port is left.
    """
    if app in taken:
        return taken[app]
    refused = set(taken.values()) | conflicts
    own = [port for port, each in tombstones.items() if each.app == app and port not in refused]
    if own:
        return min(own)
    for offset in range(COUNT):
        port = FIRST + (start + offset) % COUNT
        if port not in refused and port not in tombstones:
            return port
    reusable = [(each.deleted_at, port) for port, each in tombstones.items() if port not in refused]
    if not reusable:
        raise ExhaustedError(
            f"no mesh port between {FIRST} and {LAST} is left for app `{app.name}`: delete an app"
        )
    return min(reusable)[1]
