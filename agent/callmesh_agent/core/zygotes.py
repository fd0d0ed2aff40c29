"""Processes that others are forked from.

A base zygote knows no user code: there is one for each Python environment. Apps
are forked from it, and so is one zygote for each pool of task workers, which
then imports the user's module.
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


def base_id(environment: str) -> str:
    """The base zygote's id in an environment; "" is the node's own interpreter."""
    return f"{BASE}-{environment}" if environment else BASE


def need_base(draft: Draft, environment: str = "") -> str | None:
    """The base zygote's id; "" where there can be none (spawn); None: wait for it."""
    base = draft.zygotes.get(base_id(environment))
    if base is None:
        if draft.base_failures.get(environment, 0) >= MAX_FAILURES:
            return ""
        start(draft, base_id(environment), environment=environment, pool="", parent="")
        return None
    match base.phase:
        case ZygotePhase.READY:
            return base.id
        case ZygotePhase.IMPORTING | ZygotePhase.ENDING:
            return None
        case _:
            return ""


def start(draft: Draft, zygote_id: str, *, environment: str, pool: str, parent: str) -> None:
    """Start a zygote; its imports' end is waited for with a limit."""
    if zygote_id != BASE:
        _make_room(draft, of_pools=bool(pool))
    limit = draft.limits.zygote_import if pool else BASE_IMPORT
    draft.put_zygote(
        Zygote(
            id=zygote_id,
            pool=pool,
            phase=ZygotePhase.IMPORTING,
            environment=environment,
            used_at=draft.now,
            wake_at=draft.now + limit,
        )
    )
    draft.do(StartZygote(zygote_id, pool, parent, environment))


def _make_room(draft: Draft, *, of_pools: bool) -> None:
    """End the zygote that was not used for the longest time, if there are too many of a kind."""
    ready = [
        each
        for each in draft.zygotes.values()
        if each.id != BASE and bool(each.pool) == of_pools and each.phase is ZygotePhase.READY
    ]
    if len(ready) >= draft.limits.zygotes:
        end(draft, min(ready, key=lambda each: each.used_at))


def of_pool(draft: Draft, pool: str) -> Zygote | None:
    """The zygote that a pool's workers are forked from, or that will be."""
    for zygote in draft.zygotes.values():
        if zygote.pool == pool and zygote.phase is not ZygotePhase.ENDING:
            return zygote
    return None


def used(draft: Draft, zygote_id: str) -> None:
    """A process is forked from it: it is kept for another while."""
    zygote = draft.zygotes.get(zygote_id)
    if zygote is not None:
        draft.put_zygote(replace(zygote, used_at=draft.now, wake_at=_idle_until(draft, zygote)))


def _idle_until(draft: Draft, zygote: Zygote) -> float | None:
    """When it ends if nobody uses it; the node's own base is kept."""
    return None if zygote.id == BASE else draft.now + draft.limits.zygote_idle


def ready(draft: Draft, zygote: Zygote) -> None:
    """Processes can be forked from it."""
    wake_at = _idle_until(draft, zygote)
    draft.put_zygote(replace(zygote, phase=ZygotePhase.READY, wake_at=wake_at))
    if not zygote.pool:
        draft.base_failures.pop(zygote.environment, None)


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
        environment=process.labels.get("python", ""),
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
    if not zygote.pool and zygote.phase is ZygotePhase.IMPORTING:
        failures = draft.base_failures.get(zygote.environment, 0)
        draft.base_failures[zygote.environment] = failures + 1
    if zygote.id == BASE and draft.warm and draft.supervised:
        need_base(draft)
    return zygote
