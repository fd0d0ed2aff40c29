"""What many sessions are sent, serialised once: the mesh view and its deltas.

For a thousand nodes the serialising would cost more than the sending.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import groupby

from callmesh_wire.batches import batches
from callmeshpb.v1.node_pb2 import ServerMessage, SessionResponse

_VIEWS = frozenset({"mesh_view", "mesh_delta"})
# Views that sessions are sent at one time: most are up to date but for the last.
_KEPT = 4


class Shared:
    """The views that were serialised last, by the message object (`views.Views` shares it)."""

    def __init__(self) -> None:
        self._kept: deque[tuple[ServerMessage, bytes]] = deque(maxlen=_KEPT)

    def responses(self, messages: list[ServerMessage]) -> Iterator[SessionResponse | bytes]:
        """What gRPC sends for one session's messages, in their order."""
        for is_view, group in groupby(messages, lambda m: m.WhichOneof("message") in _VIEWS):
            if is_view:
                yield from map(self._serialised, group)
            else:
                for batch in batches(group):
                    yield SessionResponse(messages=batch)

    def _serialised(self, view: ServerMessage) -> bytes:
        for known, content in self._kept:
            if known is view:
                return content
        content = SessionResponse(messages=[view]).SerializeToString()
        self._kept.append((view, content))
        return content
