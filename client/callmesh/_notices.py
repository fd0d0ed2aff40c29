"""Lines that are said once to whoever deploys or runs something."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

_logger = logging.getLogger("callmesh")
_said: set[str] = set()
_sink: Callable[[str], None] = _logger.warning


def say(lines: Iterable[str]) -> None:
    """Say each line that this process has not said yet."""
    for line in lines:
        if line not in _said:
            _said.add(line)
            _sink(f"notice: {line}")


def tell(line: str) -> None:
    """Say what is being done, each time that it is."""
    _sink(line)


def say_to(sink: Callable[[str], None]) -> None:
    """Have notices said elsewhere than to the `callmesh` logger."""
    global _sink
    _sink = sink


def said() -> frozenset[str]:
    """The lines that have been said."""
    return frozenset(_said)


def forget_to_say(lines: Iterable[str]) -> None:
    """Lines that somebody else has said already."""
    _said.update(lines)
