"""Who is told when an object changes: listeners by key.

A listener is called on the loop, says nothing about what changed, and must not
raise: it reads the object again when it gets to it, so that a slow watcher
misses states but never the last one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from callmesh_wire.names import AppName

Listener = Callable[[], None]


@dataclass(frozen=True, slots=True)
class AppChanged:
    """An app, one of its instances, or its deletion."""

    name: AppName


@dataclass(frozen=True, slots=True)
class RunChanged:
    """A run's phase, attempts or message."""

    name: str


@dataclass(frozen=True, slots=True)
class ServiceChanged:
    """What can be called under this name: an app's endpoints or a registered service's."""

    name: AppName


@dataclass(frozen=True, slots=True)
class NodeChanged:
    """A node, what is on it, or why that is still there; or its deletion."""

    name: str


class Changes:
    """Listeners by key."""

    def __init__(self) -> None:
        self._listeners: dict[Hashable, dict[int, Listener]] = {}
        self._next = 0

    def notify(self, key: Hashable) -> None:
        """Call the key's listeners."""
        listeners = self._listeners.get(key)
        if listeners:
            for listener in list(listeners.values()):
                listener()

    def listen(self, key: Hashable, listener: Listener) -> Callable[[], None]:
        """Call ``listener`` at every change; returns what ends that."""
        self._next += 1
        number = self._next
        self._listeners.setdefault(key, {})[number] = listener

        def end() -> None:
            listeners = self._listeners.get(key)
            if listeners is not None:
                listeners.pop(number, None)
                if not listeners:
                    del self._listeners[key]

        return end

    @contextmanager
    def watch(self, *keys: Hashable) -> Iterator[asyncio.Event]:
        """An event that is set at every change of one of these keys.

        Clear it, read, then wait.
        """
        event = asyncio.Event()
        ends = [self.listen(key, event.set) for key in keys]
        try:
            yield event
        finally:
            for end in ends:
                end()
