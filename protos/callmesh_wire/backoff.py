"""A delay schedule. Pure: the random source is an argument."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Delay number ``n`` (from 0) is ``min(base * factor**n, cap)`` seconds."""

    base: float
    factor: float = 2.0
    cap: float = 60.0

    def delay(self, n: int) -> float:
        """Seconds to wait before try ``n + 1``, without jitter."""
        if n < 0 or self.base <= 0:
            return 0.0
        try:
            return min(self.base * self.factor**n, self.cap)
        except OverflowError:
            return self.cap

    def jittered(self, n: int, random: Callable[[], float]) -> float:
        """The same with "equal jitter": between half of it and all of it.

        ``random`` returns a number in [0, 1).
        """
        delay = self.delay(n)
        return delay / 2 + delay / 2 * random()
