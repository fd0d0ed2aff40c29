"""What each session lacks of the mesh view, made once for all that lack the same.

One message object goes to many sessions, so that gRPC's door serialises it once
(`api/session.py`). Nobody changes it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from callmesh_server.core.viewlog import ViewLog
from callmeshpb.v1.node_pb2 import NodeHello, ServerMessage

# Views that nodes come with, of which most are the same; messages of one version.
_KEPT = 8
_MADE = 64


@dataclass(frozen=True, slots=True)
class Known:
    """The view that a session's node has."""

    version: int = 0
    takes_deltas: bool = False
    # Of the view that it came with, until it was sent one.
    tags: Mapping[str, int] | None = None


class Views:
    """The messages over one `ViewLog`."""

    def __init__(self, log: ViewLog) -> None:
        self._log = log
        self._version = 0
        self._made: dict[tuple[int, bool, int], tuple[ServerMessage, Known]] = {}
        self._tags: deque[Mapping[str, int]] = deque(maxlen=_KEPT)

    def known(self, hello: NodeHello) -> Known:
        """The view that a node comes with."""
        if not hello.takes_deltas or not hello.view_version:
            return Known(takes_deltas=hello.takes_deltas)
        tags: Mapping[str, int] = dict(hello.view_tags)
        for each in self._tags:
            if each == tags:
                return Known(hello.view_version, takes_deltas=True, tags=each)
        self._tags.append(tags)
        return Known(hello.view_version, takes_deltas=True, tags=tags)

    def next(self, known: Known) -> tuple[ServerMessage | None, Known]:
        """What brings a node to the newest view, None if it has it; and what it knows then."""
        log = self._log
        if known.version == log.version and known.tags is None:
            return None, known
        after = Known(log.version, takes_deltas=known.takes_deltas)
        if self._version != log.version or len(self._made) >= _MADE:
            self._version = log.version
            self._made.clear()
        # With the message stays what it is for, so that the id is nobody else's.
        key = (known.version, known.takes_deltas, id(known.tags))
        if key not in self._made:
            self._made[key] = self._message(known), known
        return self._made[key][0], after

    def _message(self, known: Known) -> ServerMessage:
        log = self._log
        delta = None
        if known.takes_deltas and known.tags is not None:
            delta = log.delta_to(known.tags, known.version)
        elif known.takes_deltas:
            delta = log.delta(known.version)
        if delta is None:
            return ServerMessage(mesh_view=log.whole())
        return ServerMessage(mesh_delta=delta)
