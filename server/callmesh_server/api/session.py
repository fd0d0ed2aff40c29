"""Agents' sessions over gRPC; the views, which many get, are serialised once for all.

For a thousand nodes the serialising would cost more than the sending.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from itertools import groupby

from callmesh_server.api.caller import Caller, CallerKind
from callmesh_server.sessions import Sessions
from callmesh_wire.batches import batches
from callmesh_wire.errors import PermissionDeniedError
from callmeshpb.v1.node_pb2 import AgentMessage, ServerMessage, SessionRequest, SessionResponse

_VIEWS = frozenset({"mesh_view", "mesh_delta"})
# Views that sessions are sent at one time: most are up to date but for the last.
_KEPT = 4


class SessionApi:
    """Session of NodeService."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        # The views that were serialised last, by the message object (`views.Views` shares it).
        self._kept: deque[tuple[ServerMessage, bytes]] = deque(maxlen=_KEPT)

    async def session(
        self, requests: AsyncIterator[SessionRequest], caller: Caller
    ) -> AsyncIterator[SessionResponse | bytes]:
        """One agent's session."""
        if caller.kind is CallerKind.WORKLOAD:
            raise PermissionDeniedError("a workload has no session: its node's agent has")
        async with aclosing(self._sessions.serve(_batches(requests))) as ready:
            async for messages in ready:
                for each in self._responses(messages):
                    yield each

    def _responses(self, messages: list[ServerMessage]) -> Iterator[SessionResponse | bytes]:
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


async def _batches(requests: AsyncIterator[SessionRequest]) -> AsyncIterator[list[AgentMessage]]:
    async for request in requests:
        if request.messages:
            yield list(request.messages)
