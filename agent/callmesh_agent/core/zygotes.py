"""Processes that others are forked from.

The base zygote knows no user code: apps are forked from it, and so is one zygote
for each pool of task workers, which then imports the user's module.
"""

from __future__ import annotations

import signal
from dataclasses import replace

from callmesh_agent.core.draft import Draft
from callmesh_agent.core.instructions import ForgetProcess, SignalProcess, StartZygote
from callmesh_agent.core.state import BASE, Zygote, ZygotePhase
from callmeshpb.v1 import supervisor_pb2

PREFIX = "zygote/"
MAX_FAILURES = 3
BASE_IMPORT = 15.0


def need_base(draft: Draft) -> str | None:
    """The base zygote's id; "" where there can be none (spawn); None: wait for it."""
    base = draft.zygotes.get(BASE)
    if base is None:
        if draft.base_failures >= MAX_FAILURES:
            return ""
        start(draft, BASE, pool="", parent="")
        return None
    match base.phase:
        case ZygotePhase.READY:
            return BASE
        case ZygotePhase.IMPORTING | ZygotePhase.ENDING:
            return None
        case _:
            return ""


def start(draft: Draft, zygote_id: str, *, pool: str, parent: str) -> None:
    """Start a zygote; its imports' end is waited for with a limit."""
    if pool:
        _make_room(draft)
    limit = draft.limits.zygote_import if pool else BASE_IMPORT
    draft.put_zygote(
        Zygote(
            id=zygote_id,
            pool=pool,
            phase=ZygotePhase.IMPORTING,
            used_at=draft.now,
            wake_at=draft.now + limit,
        )
    )
    draft.do(StartZygote(zygote_id, pool, parent))


def _make_room(draft: Draft) -> None:
    """End the pool's zygote that was not used for the longest time, if there are too many."""
    ready = [z for z in draft.zygotes.values() if z.pool and z.phase is ZygotePhase.READY]
    if len(ready) >= draft.limits.zygotes:
        end(draft, min(ready, key=lambda each: each.used_at))


def of_pool(draft: Draft, pool: str) -> Zygote | None:
    """The zygote that a pool's workers are forked from, or that will be."""
    for zygote in draft.zygotes.values():
        if zygote.pool == pool and zygote.phase is not ZygotePhase.ENDING:
            return zygote
    return None


def used(draft: Draft, zygote: Zygote) -> None:
    """It gave a worker: it is kept for another while."""
    idle = draft.limits.zygote_idle
    draft.put_zygote(replace(zygote, used_at=draft.now, wake_at=draft.now + idle))


def ready(draft: Draft, zygote: Zygote) -> None:
    """Processes can be forked from it."""
    wake_at = draft.now + draft.limits.zygote_idle if zygote.pool else None
    draft.put_zygote(replace(zygote, phase=ZygotePhase.READY, wake_at=wake_at))
    if not zygote.pool:
        draft.base_failures = 0


def end(draft: Draft, zygote: Zygote) -> None:
    """It is of no use any more. Forked workers live on."""
    if zygote.phase is ZygotePhase.ENDING:
        return
    draft.put_zygote(replace(zygote, phase=ZygotePhase.ENDING, wake_at=None))
    draft.do(SignalProcess(PREFIX + zygote.id, signal.SIGTERM, kill_after=2.0))


def adopt(draft: Draft, process: supervisor_pb2.Process) -> None:
    """One that lives from before; the supervisor says again what became of its imports."""
    zygote_id = process.process_id.removeprefix(PREFIX)
    if zygote_id in draft.zygotes:
        return
    zygote = Zygote(
        id=zygote_id,
        pool=process.labels.get("pool", ""),
        phase=ZygotePhase.IMPORTING,
        used_at=draft.now,
        wake_at=draft.now + draft.limits.settle,
    )
    draft.put_zygote(zygote)
    if process.labels.get("base", "") != draft.base_hash:
        end(draft, zygote)


def gone(draft: Draft, zygote_id: str) -> Zygote | None:
    """Its process has ended. What it was, if it was known."""
    draft.do(ForgetProcess(PREFIX + zygote_id))
    zygote = draft.zygotes.get(zygote_id)
    if zygote is None:
        return None
    draft.remove_zygote(zygote_id)
    if zygote.id == BASE and zygote.phase is ZygotePhase.IMPORTING:
        draft.base_failures += 1
    if zygote.id == BASE and draft.warm and draft.supervised:
        need_base(draft)
    return zygote
