"""The time as a run sees it: a retry sees the same again, and sleeps only what is left.

Outside a run these are Python's own. Each blocks when called and has `.aio`.
"""

from __future__ import annotations

import asyncio
import time as clock
from datetime import datetime

from callmesh._sync import verb
from callmesh.steps import trace


@verb
async def time() -> float:
    """Seconds since 1970, as the first attempt that asked here got them."""
    return await _time()


@verb
async def now() -> datetime:
    """The local time, as `datetime.now()` gives it, of the first attempt that asked here."""
    return datetime.fromtimestamp(await _time())


@verb
async def sleep(seconds: float) -> None:
    """Wait until so many seconds after the first attempt came here."""
    until = await _end_of_sleep(float(seconds))
    await asyncio.sleep(max(0.0, until - clock.time()))


@trace
async def _time() -> float:
    return clock.time()


@trace
async def _end_of_sleep(seconds: float) -> float:
    return clock.time() + seconds
