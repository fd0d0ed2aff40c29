"""Which instances of one revision stay, which may go, and whether one is missing.

Those on a node that is drained are replaced first: each stays until an instance
elsewhere takes calls in its place.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Set
from dataclasses import dataclass
from operator import itemgetter

from callmesh_server.core.crew import Instances, is_ready, ready
from callmesh_server.core.world import fence_of
from callmeshpb.v1.scheduler_pb2 import Instance


@dataclass(frozen=True, slots=True)
class Shift:
    """A revision's instances and how many of them shall be."""

    staying: Instances
    # On nodes that are drained.
    moving: Instances
    wanted: int

    @classmethod
    def of(cls, group: Instances, moving: Set[str], wanted: int) -> Shift:
        """Sort a group by whether each is among ``moving``."""
        return cls(
            [each for each in group if each.id not in moving],
            [each for each in group if each.id in moving],
            wanted,
        )

    @property
    def lacks(self) -> bool:
        """Whether one more is to be placed."""
        return len(self.staying) < self.wanted

    def surplus(self) -> list[Instance]:
        """Those that may go now."""
        return [*self._too_many(), *self._relieved()]

    def _too_many(self) -> list[Instance]:
        """Those that do not serve go first, then those of the fullest node, then the youngest."""
        surplus = max(0, len(self.staying) - self.wanted)
        heights = Counter(each.node for each in self.staying)
        order = []
        for each in sorted(self.staying, key=lambda each: (is_ready(each), _negative(each))):
            order.append(((is_ready(each), -heights[each.node], _negative(each)), each))
            heights[each.node] -= 1
        order.sort(key=itemgetter(0))
        return [each for _, each in order[:surplus]]

    def _relieved(self) -> list[Instance]:
        """Of the moving: those in whose place others serve, or will where these do not."""
        serving = [each for each in self.moving if is_ready(each)]
        idle = [each for each in self.moving if not is_ready(each)]
        needed = max(0, self.wanted - ready(self.staying))
        kept = serving[:needed]
        spare = max(0, self.wanted - len(self.staying) - len(kept))
        return [*serving[needed:], *idle[spare:]]


def _negative(instance: Instance) -> tuple[int, int]:
    epoch, counter = fence_of(instance.fence)
    return -epoch, -counter
