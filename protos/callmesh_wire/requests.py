"""The requests of one gRPC call, which end with the call.

gRPC's own task that takes them waits on for the next one after the call has
failed, until it is destroyed, which asyncio tells on standard error.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Requests(Generic[Item]):
    """An asynchronous iterator of requests; `end` it when the call has ended."""

    def __init__(self, requests: AsyncIterator[Item]) -> None:
        self._requests = requests
        self._taker: asyncio.Task[None] | None = None

    def __aiter__(self) -> Requests[Item]:
        return self

    async def __anext__(self) -> Item:
        """The next request."""
        self._taker = asyncio.current_task()
        return await anext(self._requests)

    def end(self) -> None:
        """Nobody takes requests any more."""
        if self._taker is not None:
            self._taker.cancel()
