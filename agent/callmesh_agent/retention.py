"""How long what has ended stays on disk: logs and code, each within a cap."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection
from pathlib import Path

from callmesh_agent.config import AgentSettings
from callmesh_agent.workspace import Workspace

EVERY = 3600.0
# A log of what has ended is kept for a week, and all of a kind within so many bytes.
LOG_SECONDS = 7 * 24 * 3600.0
LOG_BYTES = 512 * 1024 * 1024
log = logging.getLogger("callmesh.agent")


async def keep(
    workspace: Workspace, settings: AgentSettings, in_use: Callable[[], Collection[str]]
) -> None:
    """Remove what is too old or too much, every hour, until cancelled."""
    while True:
        await asyncio.sleep(EVERY)
        used = in_use()
        removed = await asyncio.to_thread(workspace.prune, used)
        for kind in ("app", "worker", "zygote"):
            folder = settings.logs_dir / kind
            removed += await asyncio.to_thread(prune_logs, folder, used, time.time())
        if removed:
            log.info("removed what was not used for long: %s", ", ".join(removed))


def prune_logs(folder: Path, in_use: Collection[str], now: float) -> list[str]:
    """Remove logs of the ended that are too old, then the oldest ones over the cap."""
    found = []
    for path in folder.glob("*.log*"):
        stat = path.stat()
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
