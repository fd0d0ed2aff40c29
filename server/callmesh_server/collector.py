"""Removes what the record need not keep: at the start, then on a timer.

`core.collection` decides. Rows go in small batches through the writer, so that
no commit waits long behind one. Blobs are taken out of sight by the event loop
itself, so that nobody asks for one in between, and deleted in a thread.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

from callmesh_server.core import collection
from callmesh_server.core.collection import Caps, Snapshot, Surplus
from callmesh_server.live import Live
from callmesh_server.store.blobs import Blobs
from callmesh_wire.errors import CallmeshError

if TYPE_CHECKING:
    from callmesh_server.store.database import Database
    from callmesh_server.store.writer import Change

log = logging.getLogger(__name__)
_Item = TypeVar("_Item")

START_SECONDS = 2.0
EVERY_SECONDS = 1800.0
_BATCH = 50


class Collector:
    """One server's. `run` it, or `collect` once."""

    def __init__(self, live: Live, database: Database, blobs: Blobs, caps: Caps) -> None:
        self._live = live
        self._database = database
        self._blobs = blobs
        self._caps = caps
        # Blobs never change: what each names is read once.
        self._names: dict[str, frozenset[str]] = {}

    async def run(self) -> None:
        """Collect after the start and every half hour, until cancelled."""
        await asyncio.sleep(START_SECONDS)
        while True:
            try:
                await self.collect()
            except (CallmeshError, OSError) as problem:
                log.warning("what is old could not be removed, tried again later: %s", problem)
            await asyncio.sleep(EVERY_SECONDS)

    async def collect(self) -> None:
        """Remove what is over the caps, and say in one line what that was."""
        snapshot = await self._snapshot()
        surplus = collection.surplus(snapshot, self._caps)
        tasks = await self._remove_rows(surplus)
        blobs, size = await self._remove_blobs(collection.unused_before(snapshot, self._caps))
        if surplus.runs or surplus.results or tasks or blobs:
            log.warning(
                "removed what is old: %d runs, %d kept results, %d task versions, "
                "%d blobs of %d bytes",
                len(surplus.runs), len(surplus.results), tasks, blobs, size,
            )  # fmt: skip

    async def _snapshot(self) -> Snapshot:
        from callmesh_server.store import recorded

        # What points comes before what is pointed to, which may only grow meanwhile.
        results = await recorded.kept_results(self._database)
        ephemeral = await recorded.ephemeral_tasks(self._database)
        runs = await recorded.run_facts(self._database)
        return Snapshot(time.time(), runs, results, ephemeral)

    async def _remove_rows(self, surplus: Surplus) -> int:
        """Returns how many task versions went: those in use by now stay."""
        records = self._database.records
        for results in _batches(surplus.results, _BATCH):
            await self._commit([records.delete_cached(*each) for each in results])
        for runs in _batches(surplus.runs, _BATCH):
            self._live.forget_ended(runs)
            await self._commit([records.delete_ended_run(name) for name in runs])
        gone = 0
        for keys in _batches(surplus.tasks, _BATCH):
            unused = [key for key in keys if self._live.forget_version(key)]
            await self._commit([records.delete_ephemeral(key) for key in unused])
            gone += len(unused)
        return gone

    async def _commit(self, changes: Sequence[Change]) -> None:
        if changes:
            await self._database.writer.commit(changes)

    async def _remove_blobs(self, before: float) -> tuple[int, int]:
        """Returns how many went, and their bytes."""
        from callmesh_server.store.recorded import digests_in

        stored = await asyncio.to_thread(self._blobs.stored)
        if not any(at < before for at in stored.values()):
            return 0, 0
        known = set(self._live.inputs)
        marked = await self._marked(stored, before)
        count = size = 0
        for digests in _batches(collection.unreferenced(stored, marked, before), _BATCH):
            begun = self._live.inputs.keys() - known
            inputs = (self._live.inputs[name].SerializeToString() for name in begun)
            claimed = {digest for each in inputs for digest in digests_in(each)}
            hidden = [
                path
                for digest in digests
                if digest not in claimed and (path := self._blobs.hide(digest, before))
            ]
            count += len(hidden)
            size += await asyncio.to_thread(self._blobs.delete, hidden)
        await asyncio.to_thread(self._blobs.delete_abandoned, before)
        return count, size

    async def _marked(self, stored: Mapping[str, float], before: float) -> set[str]:
        """Every stored digest that a record names, that is new, or that one of these names."""
        from callmesh_server.store.recorded import named_digests

        # What is queued for the disk so far is read there.
        await self._database.writer.commit([])
        new = await named_digests(self._database) & stored.keys()
        new |= {digest for digest, at in stored.items() if at >= before}
        marked = set(new)
        while new:
            found: set[str] = set()
            for digest in new:
                found |= await self._named_by(digest)
            new = (found & stored.keys()) - marked
            marked |= new
        self._names = {key: self._names[key] for key in marked}
        return marked

    async def _named_by(self, digest: str) -> frozenset[str]:
        from callmesh_server.store.recorded import digests_in

        if digest not in self._names:
            self._names[digest] = await asyncio.to_thread(self._blobs.named_in, digest, digests_in)
        return self._names[digest]


def _batches(items: Sequence[_Item], size: int) -> Iterator[Sequence[_Item]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
