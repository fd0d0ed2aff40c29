"""Names in the order of a number, kept as numbers change."""

from __future__ import annotations

from bisect import bisect_left, insort


class Ordered:
    """``entries`` is always sorted: by number, then by name."""

    def __init__(self) -> None:
        self.entries: list[tuple[int, str]] = []
        self._numbers: dict[str, int] = {}

    def put(self, name: str, number: int) -> None:
        """The name has this number."""
        if self._numbers.get(name) != number:
            self.remove(name)
            insort(self.entries, (number, name))
            self._numbers[name] = number

    def remove(self, name: str) -> None:
        """The name is gone, if it was there."""
        before = self._numbers.pop(name, None)
        if before is not None:
            del self.entries[bisect_left(self.entries, (before, name))]
