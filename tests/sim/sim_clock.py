"""Virtual time: what is due happens in its order, and nothing else takes any time."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(slots=True)
class Timer:
    """Something that will happen, unless it is cancelled."""

    at: float
    action: Callable[[], None]
    cancelled: bool = False

    def cancel(self) -> None:
        self.cancelled = True


class Clock:
    """The only clock of a simulation. ``now`` is in epoch seconds."""

    def __init__(self, start: float = 1_000_000.0) -> None:
        self.start = start
        self.now = start
        self._due: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()

    @property
    def elapsed(self) -> float:
        """Seconds since the simulation began."""
        return self.now - self.start

    def after(self, seconds: float, action: Callable[[], None]) -> Timer:
        """Do something in so many seconds."""
        return self.at(self.now + max(0.0, seconds), action)

    def at(self, moment: float, action: Callable[[], None]) -> Timer:
        """Do something at a time; in the past means now."""
        timer = Timer(max(self.now, moment), action)
        heapq.heappush(self._due, (timer.at, next(self._order), timer))
        return timer

    def run_until(self, elapsed: float, enough: Callable[[], bool] = lambda: False) -> None:
        """Let time pass until ``elapsed`` seconds since the beginning, or until it is enough."""
        until = self.start + elapsed
        while self._due and self._due[0][0] <= until:
            at, _, timer = heapq.heappop(self._due)
            if timer.cancelled:
                continue
            self.now = at
            timer.action()
            if enough():
                return
        self.now = until
