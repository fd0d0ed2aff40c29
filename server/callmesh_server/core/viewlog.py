"""The mesh view with the order in which its services changed: whole, or what differs.

What is put waits for `commit`, which gives it a version. A delta names what
changed after another version, or what differs from the tags that a node has.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Mapping

from callmeshpb.v1.node_pb2 import MeshDelta, MeshView, ServiceView

# Removed names that are remembered: from before the oldest, the view goes out whole.
MOST_REMOVED = 1_000

# A service before and after; None: it was not there, or is not.
Change = tuple[ServiceView | None, ServiceView | None]


class ViewLog:
    """One mesh's. Services go by their mesh names."""

    def __init__(self) -> None:
        self.version = 0
        self._views: dict[str, ServiceView] = {}
        self._waiting: dict[str, ServiceView | None] = {}
        # The version in which each changed or was removed last, in that order.
        self._changed: OrderedDict[str, int] = OrderedDict()
        self._removed: OrderedDict[str, int] = OrderedDict()
        # Deltas from before this version are not known.
        self._known_since = 0

    @property
    def is_waiting(self) -> bool:
        """Whether there is something to commit."""
        return bool(self._waiting)

    def newest(self, name: str) -> ServiceView | None:
        """What was put last of a service, committed or not."""
        return self._waiting[name] if name in self._waiting else self._views.get(name)

    def put(self, name: str, view: ServiceView | None) -> bool:
        """A service is this, or (None) not there; whether that is new. It gets its tag."""
        if view is not None:
            view.tag = tag_of(view)
        before = self.newest(name)
        if (before and before.tag) == (view and view.tag):
            return False
        self._waiting[name] = view
        return True

    def commit(self, version: int) -> list[Change]:
        """What was put is the view of this version, which is higher than all before.

        Returns what each changed service was and is.
        """
        changes = [(self._views.get(name), view) for name, view in self._waiting.items()]
        for name, view in self._waiting.items():
            self._changed.pop(name, None)
            self._removed.pop(name, None)
            if view is not None:
                self._views[name] = view
                self._changed[name] = version
            elif self._views.pop(name, None) is not None:
                self._removed[name] = version
        while len(self._removed) > MOST_REMOVED:
            _, self._known_since = self._removed.popitem(last=False)
        self._waiting.clear()
        self.version = version
        return changes

    def whole(self) -> MeshView:
        """The view, sorted by name."""
        services = [self._views[name] for name in sorted(self._views)]
        return MeshView(version=self.version, services=services)

    def delta(self, version: int) -> MeshDelta | None:
        """What changed since a version, or None where that is not known."""
        if not self._known_since <= version <= self.version or not version:
            return None
        return MeshDelta(
            from_version=version,
            version=self.version,
            changed=[self._views[name] for name in _after(self._changed, version)],
            removed=_after(self._removed, version),
        )

    def delta_to(self, tags: Mapping[str, int], version: int) -> MeshDelta:
        """What differs from a view with these tags; ``version`` is what its holder calls it."""
        return MeshDelta(
            from_version=version,
            version=self.version,
            changed=[
                self._views[name]
                for name in sorted(self._views)
                if tags.get(name) != self._views[name].tag
            ],
            removed=sorted(tags.keys() - self._views.keys()),
        )


def tag_of(view: ServiceView) -> int:
    """A number, not 0, that is another one for another content."""
    bare = ServiceView()
    bare.CopyFrom(view)
    bare.ClearField("tag")
    content = bare.SerializeToString(deterministic=True)
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest()) or 1


def _after(versions: OrderedDict[str, int], version: int) -> list[str]:
    """Names of a later version, by name; looks at no others but one."""
    names = []
    for name in reversed(versions):
        if versions[name] <= version:
            break
        names.append(name)
    return sorted(names)
