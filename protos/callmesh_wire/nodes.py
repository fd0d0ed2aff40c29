"""What a node's record comes to, in one word, for every face of the mesh."""

from __future__ import annotations

from callmeshpb.v1 import scheduler_pb2


def node_state(found: scheduler_pb2.Node) -> str:
    """ready, draining, drained, away (its lease runs on) or lost."""
    if found.HasField("drain") and not found.drain.left:
        return "drained"
    if found.lost:
        return "lost"
    if found.HasField("drain"):
        return "draining"
    return "ready" if found.connected else "away"
