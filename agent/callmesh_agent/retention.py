"""How long what has ended stays on disk: logs, code, environments, blobs, each within a cap."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection
from pathlib import Path

from callmesh_agent import shelf
from callmesh_agent.blobs import Blobs
from callmesh_agent.config import AgentSettings
from callmesh_agent.environments import Environments
from callmesh_agent.workspace import Workspace
from callmeshpb.v1 import common_pb2

FIRST = 5.0
# Seconds between two counts, and how many counts there are to a clean-up.
EVERY = 20.0
LOOKS = 30
# A log of what has ended is kept for a week, and all of a kind within so many bytes.
LOG_SECONDS = 7 * 24 * 3600.0
LOG_BYTES = 512 * 1024 * 1024
LOG_KINDS = ("app", "worker", "zygote")
# Code that nothing uses is kept for a week.
BUNDLE_SECONDS = 7 * 24 * 3600.0
InUse = Callable[[], Collection[str]]
Discarded = Callable[[tuple[str, ...]], None]
log = logging.getLogger("callmesh.agent")


class Retention:
    """Looks at a node's disk from time to time, and removes what is too old or too much."""

    def __init__(
        self,
        settings: AgentSettings,
        workspace: Workspace,
        environments: Environments,
        blobs: Blobs,
        report: Callable[[list[common_pb2.StorageUse]], None],
    ) -> None:
        self._settings = settings
        self._workspace = workspace
        self._environments = environments
        self._blobs = blobs
        self._report = report

    async def keep(self, in_use: InUse, discarded: Discarded) -> None:
        """Work until cancelled. ``discarded`` hears what is gone, before it is."""
        await asyncio.sleep(FIRST)
        while True:
            try:
                gone = await self.look(in_use, discarded)
            except OSError as problem:
                log.warning("what is old could not be removed, tried again later: %s", problem)
            else:
                if gone:
                    log.info("removed what was not used for long: %s", ", ".join(gone))
            await self._report_until_next()

    async def _report_until_next(self) -> None:
        """Say what is on the disk for as long as nothing is removed.

        Logs grow all the time: they alone are not worth a write of the server's.
        """
        said: list[common_pb2.StorageUse] = []
        for _ in range(LOOKS):
            try:
                uses = await asyncio.to_thread(self._uses)
            except OSError as problem:
                log.warning("what is on the disk could not be counted: %s", problem)
            else:
                told = [each for each in uses if each.kind != "logs"]
                if told != said:
                    self._report(uses)
                said = told
            await asyncio.sleep(EVERY)

    async def look(self, in_use: InUse, discarded: Discarded) -> list[str]:
        """Remove what has to go now; its names. Raises `OSError`."""
        settings = self._settings
        await asyncio.to_thread(self._workspace.touch, in_use())
        bundles = await asyncio.to_thread(self._workspace.entries)
        # From the choice to the renaming nothing else happens on the loop.
        gone = shelf.surplus(
            bundles,
            in_use(),
            time.time(),
            cap=settings.bundles_cap,
            keep_seconds=BUNDLE_SECONDS,
        )
        discarded(tuple(gone))
        shelf.discard(settings.bundles_dir, gone)
        await asyncio.to_thread(self._environments.touch, in_use())
        built = await asyncio.to_thread(self._environments.entries)
        more = shelf.surplus(built, in_use(), time.time(), cap=settings.environments_cap)
        more += self._environments.halves()
        discarded(tuple(more))
        shelf.discard(settings.environments_dir, more)
        gone += more
        for folder in (settings.bundles_dir, settings.environments_dir):
            await asyncio.to_thread(shelf.free, folder)
        await asyncio.to_thread(self._environments.remove_locks)
        gone += self._blobs.remove_old(time.time())
        for kind in LOG_KINDS:
            folder = settings.logs_dir / kind
            gone += await asyncio.to_thread(prune_logs, folder, in_use(), time.time())
        return gone

    def _uses(self) -> list[common_pb2.StorageUse]:
        settings = self._settings
        built = [each.size for each in self._environments.entries().values()]
        bundles = [each.size for each in self._workspace.entries().values()]
        logs = [path.lstat().st_size for path in settings.logs_dir.glob("*/*.log*")]
        uses = [
            _use("environments", settings.environments_dir, built, settings.environments_cap),
            _use("bundles", settings.bundles_dir, bundles, settings.bundles_cap),
            _use("logs", settings.logs_dir, logs, LOG_BYTES * len(LOG_KINDS)),
        ]
        if self._blobs.keeps:
            blobs = [each.size for each in self._blobs.entries().values()]
            uses.append(_use("blobs", settings.blobs_dir, blobs, settings.blobs_cap))
        return uses


def _use(kind: str, folder: Path, sizes: list[int], cap: int) -> common_pb2.StorageUse:
    return common_pb2.StorageUse(
        kind=kind, folder=str(folder), bytes=sum(sizes), count=len(sizes), cap=cap
    )


def prune_logs(folder: Path, in_use: Collection[str], now: float) -> list[str]:
    """Remove logs of the ended that are too old, then the oldest ones over the cap."""
    found = []
    for path in folder.glob("*.log*"):
        stat = path.lstat()
        found.append((stat.st_mtime, stat.st_size, path))
    found.sort(reverse=True)
    size = 0
    removed = []
    for changed, length, path in found:
        size += length
        is_kept = path.name.partition(".log")[0] in in_use
        if not is_kept and (now - changed > LOG_SECONDS or size > LOG_BYTES):
            path.unlink(missing_ok=True)
            removed.append(path.name)
    return removed
