"""The same request twice changes one thing once, and is answered the same."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from google.protobuf.message import Message

from callmesh_server.api.validate import check_request_id
from callmesh_server.apply import Applier

if TYPE_CHECKING:
    from callmesh_server.store.database import Database

# How long answers are remembered, seconds.
REMEMBERED = 24 * 3600.0

Answer = TypeVar("Answer", bound=Message)


class Requests:
    """Answers of mutations by request id."""

    def __init__(self, database: Database, applier: Applier) -> None:
        self._database = database
        self._applier = applier
        self._busy: dict[str, asyncio.Lock] = {}

    async def once(
        self,
        request_id: str,
        method: str,
        kind: type[Answer],
        change: Callable[[], Awaitable[Answer]],
    ) -> Answer:
        """Make the change, or answer as the first time; returns after the commit.

        ``change`` changes memory after its last await, so that its writes and
        the memory of its answer are one transaction. On a full disk nothing is
        changed: `ExhaustedError`.
        """
        self._database.writer.check_room()
        if not check_request_id(request_id):
            answer = await change()
            await self._applier.commit()
            return answer
        lock = self._busy.setdefault(request_id, asyncio.Lock())
        try:
            async with lock:
                known = await self._database.answered(request_id, method, kind)
                if known is not None:
                    return known
                answer = await change()
                record = self._database.records.request(request_id, method, answer, time.time())
                self._applier.also(f"request/{request_id}", [record])
                await self._applier.commit()
                return answer
        finally:
            if not lock.locked():
                self._busy.pop(request_id, None)

    def expire(self) -> None:
        """Forget what is older than `REMEMBERED`."""
        before = time.time() - REMEMBERED
        self._applier.also("requests", [self._database.records.expire_requests(before)])
        self._applier.flush()
