"""A session's connection: ordered both ways, until it is cut and loses what is on its way."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Generic, TypeVar

from sim_clock import Clock

Message = TypeVar("Message")


class End(Generic[Message]):
    """What one side sends arrives at the other in order, a little later."""

    def __init__(
        self,
        clock: Clock,
        rng: random.Random,
        receive: Callable[[Message], None],
        closed: Callable[[], None],
    ) -> None:
        self._clock = clock
        self._rng = rng
        self._receive = receive
        self._closed = closed
        self._not_before = 0.0
        self.is_open = True

    def send(self, message: Message) -> None:
        if not self.is_open:
            return
        at = max(self._not_before, self._clock.now + self._rng.uniform(0.0001, 0.004))
        self._not_before = at
        self._clock.at(at, lambda: self._arrive(message))

    def _arrive(self, message: Message) -> None:
        if self.is_open:
            self._receive(message)

    def cut(self, noticed_after: float | None) -> None:
        """Nothing arrives any more; the receiver notices later (None: never)."""
        if self.is_open:
            self.is_open = False
            if noticed_after is not None:
                self._clock.after(noticed_after, self._closed)


class Line:
    """Both directions of a session."""

    def __init__(self, to_server: End, to_node: End) -> None:
        self.to_server = to_server
        self.to_node = to_node

    @property
    def is_open(self) -> bool:
        return self.to_server.is_open and self.to_node.is_open

    def cut(self, server_notices: float | None = 0.0, node_notices: float | None = 0.0) -> None:
        self.to_server.cut(server_notices)
        self.to_node.cut(node_notices)
