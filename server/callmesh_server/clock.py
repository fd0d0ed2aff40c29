"""Notices when the wall clock leaps: the machine slept, or somebody set it.

Decisions use wall-clock time, because records carry it. A lease is a promise of
so many seconds of living, so that after a leap it begins anew.
"""

from __future__ import annotations

import time
from collections.abc import Callable

# A smaller difference is a clock being steered.
LEAP_SECONDS = 1.0


class LeapWatch:
    """Compares the wall clock with the monotonic one, which stands while we sleep."""

    def __init__(
        self,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._offset = wall() - monotonic()

    def leap(self) -> float:
        """Seconds that the wall clock has leapt since the last call, or 0."""
        offset = self._wall() - self._monotonic()
        leapt = offset - self._offset
        if abs(leapt) < LEAP_SECONDS:
            return 0.0
        self._offset = offset
        return leapt
