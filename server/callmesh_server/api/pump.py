"""Reading a stream beside its own answers.

An async generator that answers a stream must read it in a second task. The
task belongs to the server's TaskGroup, and what it raises is raised again in
the generator, where it has somebody to be told to.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")
Spawn = Callable[[Coroutine[Any, Any, None]], "asyncio.Task[None]"]


class Pump(Generic[Item]):
    """Hands a stream's items to ``take`` until it ends; then wakes ``wanted``."""

    def __init__(
        self,
        spawn: Spawn,
        source: AsyncIterator[Item],
        take: Callable[[Item], Coroutine[Any, Any, None]],
        wanted: asyncio.Event,
        at_end: Callable[[], object] | None = None,
    ) -> None:
        """``at_end`` is called when the stream has ended well."""
        self._source = source
        self._take = take
        self._wanted = wanted
        self._at_end = at_end
        self._problem: Exception | None = None
        self.ended = False
        self._task = spawn(self._run())

    def check(self) -> None:
        """Raise what reading or taking raised."""
        if self._problem is not None:
            raise self._problem

    def stop(self) -> None:
        """Read no more."""
        self._task.cancel()

    async def _run(self) -> None:
        try:
            async for item in self._source:
                await self._take(item)
            if self._at_end is not None:
                self._at_end()
        except Exception as problem:  # noqa: BLE001  raised again by `check`
            self._problem = problem
        finally:
            self.ended = True
            self._wanted.set()
