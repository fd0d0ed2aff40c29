"""What is taken of each node, and the orders in which placement looks at nodes."""

from __future__ import annotations

from dataclasses import dataclass

from callmesh_server.core.ordered import Ordered
from callmesh_server.core.world import NO_USAGE, NodeState, Usage


@dataclass(frozen=True, slots=True)
class Held:
    """What a run's attempt or an instance takes of a node."""

    node: str
    slots: int
    memory: int
    cpu: float


class Room:
    """Kept by the ledger, which tells it of every node and of all that is on it."""

    def __init__(self) -> None:
        self.usage: dict[str, Usage] = {}
        self.by_instances = Ordered()
        self.by_slots = Ordered()

    def take(self, held: Held, sign: int) -> None:
        """Take it (1), or give it back (-1)."""
        usage = self.usage.get(held.node, NO_USAGE)
        self.usage[held.node] = Usage(
            usage.slots + sign * held.slots,
            usage.memory + sign * held.memory,
            round(usage.cpu + sign * held.cpu, 6),
        )

    def order(self, state: NodeState, instances: int) -> None:
        """Bring a known node's places in the orders up to date."""
        used = self.usage.get(state.name, NO_USAGE).slots
        self.by_slots.put(state.name, used - state.record.capacity.slots)
        self.by_instances.put(state.name, instances)

    def forget(self, node: str) -> None:
        """The node is known no more."""
        self.by_slots.remove(node)
        self.by_instances.remove(node)
