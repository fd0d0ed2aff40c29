"""Task workers: which attempt gets which, and what is started so that it can.

A pool's workers are interchangeable: same code, version, variables and
secrets. `balance` pairs its waiting attempts with its idle workers and starts
what is missing: first the code, then the zygote, then workers.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace

from callmesh_agent.core import bundles, environments, workers, zygotes
from callmesh_agent.core.draft import Draft
from callmesh_agent.core.instructions import RemovePoolFiles, SendGo, SendPrepare, StartWorker
from callmesh_agent.core.reports import timestamp
from callmesh_agent.core.state import (
    Attempt,
    AttemptKey,
    Pool,
    Recipe,
    Stage,
    Worker,
    ZygotePhase,
)
from callmeshpb.v1 import common_pb2, node_pb2, scheduler_pb2, supervisor_pb2

MAX_FAILURES = 3


def recipe_of(order: node_pb2.AttemptOrder) -> Recipe:
    """What a worker for this order is made from."""
    environment = order.task.environment
    return Recipe(
        project=order.project,
        domain=order.domain,
        environment=environment.name,
        version=environment.version,
        code=environment.code,
        image=environment.image,
        env_vars={**environment.image.env_vars, **environment.env_vars, **order.env_vars},
        secret_env=dict(order.secret_env),
        secret_files=dict(order.secret_files),
    )


def key_of(order: node_pb2.AttemptOrder) -> str:
    """Equal for orders whose workers are interchangeable."""
    pieces = [order.project.encode(), order.domain.encode()]
    pieces.append(order.task.environment.SerializeToString(deterministic=True))
    for variables in (order.env_vars, order.secret_env):
        pieces.append(b"%d" % len(variables))
        for name in sorted(variables):
            pieces += [name.encode(), variables[name].encode()]
    for path in sorted(order.secret_files):
        pieces += [path.encode(), order.secret_files[path]]
    # The length of each piece too, so that no two orders look alike.
    joined = b"".join(len(piece).to_bytes(4) + piece for piece in pieces)
    return hashlib.blake2b(joined, digest_size=10).hexdigest()


def balance(draft: Draft, key: str) -> None:
    """Give waiting attempts to idle workers, and start what is missing."""
    pool = draft.pools.get(key)
    if pool is None:
        return
    waiting = [
        each for each in draft.attempts.values() if each.pool == key and each.stage is Stage.WAITING
    ]
    missing: list[Attempt] = []
    for attempt in waiting:
        worker = _idle_worker(draft, attempt)
        if worker is not None:
            assign(draft, attempt, worker)
        else:
            missing.append(attempt)
    if missing:
        _start_workers(draft, pool, missing)


def _idle_worker(draft: Draft, attempt: Attempt) -> Worker | None:
    reserved = attempt.key if attempt.fresh else None
    found: Worker | None = None
    for worker in draft.workers.values():
        # The one that was used last: its memory is warm, and others can age.
        if (
            worker.idle
            # One from before may not have said yet what else it holds.
            and (draft.settled or not worker.adopted)
            and worker.pool == attempt.pool
            and worker.reserved == reserved
            and (found is None or worker.idle_since > found.idle_since)
        ):
            found = worker
    return found


def assign(draft: Draft, attempt: Attempt, worker: Worker) -> None:
    """Give an order to a worker; it may start at once if its run is committed."""
    assert attempt.order is not None
    draft.put_worker(worker._replace(attempt=attempt.key, wake_at=None))
    draft.put_attempt(attempt._replace(stage=Stage.PREPARED, worker=worker.id))
    draft.do(SendPrepare(worker.id, attempt.order))
    if attempt.released:
        draft.do(SendGo(worker.id, go_of(attempt)))


def go_of(attempt: Attempt) -> node_pb2.AttemptGo:
    """The message that lets an attempt start."""
    return node_pb2.AttemptGo(run=attempt.key.run, fence=attempt.report.fence)


def _start_workers(draft: Draft, pool: Pool, missing: list[Attempt]) -> None:
    if not draft.supervised:
        _say(draft, missing, "waits for this node's supervisor, which is being started")
        return
    # Both are begun at once.
    is_unpacked = bundles.need(draft, pool.recipe.code.bundle)
    building = environments.need(draft, pool.recipe.image)
    if building or not is_unpacked:
        _say(draft, missing, building or "its code is being unpacked")
        return
    zygote = "" if pool.spawn_because else _usable_zygote(draft, pool)
    if zygote is None:
        _say(draft, missing, f"module `{pool.recipe.code.module}` is being imported")
        return
    coming = [w for w in draft.workers.values() if w.pool == pool.key and _is_coming(w)]
    reserved = {w.reserved for w in coming if w.reserved is not None}
    free = sum(1 for w in coming if w.reserved is None)
    for attempt in missing:
        if attempt.fresh and attempt.key not in reserved:
            _start_worker(draft, pool, zygote, reserved=attempt.key)
        elif not attempt.fresh and free > 0:
            free -= 1
        elif not attempt.fresh:
            _start_worker(draft, pool, zygote, reserved=None)


def _is_coming(worker: Worker) -> bool:
    return not worker.connected and not worker.retiring and worker.attempt is None


def _start_worker(draft: Draft, pool: Pool, zygote: str, *, reserved: AttemptKey | None) -> None:
    if len(draft.workers) >= draft.limits.workers:
        workers.retire_oldest_idle(draft)
        return
    worker = Worker(
        id=draft.new_id("worker"),
        pool=pool.key,
        reserved=reserved,
        wake_at=draft.now + draft.limits.worker_start,
    )
    draft.put_worker(worker)
    draft.do(StartWorker(worker.id, zygote))
    if zygote:
        zygotes.used(draft, zygote)


def _usable_zygote(draft: Draft, pool: Pool) -> str | None:
    """A zygote's id; None: wait for it."""
    zygote = zygotes.of_pool(draft, pool.key)
    if zygote is not None:
        return zygote.id if zygote.phase is ZygotePhase.READY else None
    environment = environments.key_of(pool.recipe.image, draft.installation)
    parent = zygotes.need_base(draft, environment)
    if parent is not None:
        zygotes.used(draft, parent)
        zygotes.start(
            draft,
            draft.new_id("zygote"),
            environment=environment,
            pool=pool.key,
            parent=parent,
        )
    return None


def _say(draft: Draft, waiting: list[Attempt], message: str) -> None:
    for attempt in waiting:
        if attempt.report.message != message:
            report = node_pb2.AttemptReport()
            report.CopyFrom(attempt.report)
            report.message = message
            draft.put_attempt(attempt._replace(report=report))


def zygote_reported(draft: Draft, state: supervisor_pb2.ZygoteState) -> bool:
    """A zygote's imports have ended. True when a base zygote became usable or useless."""
    zygote = draft.zygotes.get(state.process_id.removeprefix(zygotes.PREFIX))
    if zygote is None or zygote.phase is not ZygotePhase.IMPORTING:
        return False
    match state.outcome:
        case supervisor_pb2.ZYGOTE_OUTCOME_READY:
            zygotes.ready(draft, zygote)
        case supervisor_pb2.ZYGOTE_OUTCOME_NOT_FORKABLE:
            _spawn_from_now_on(draft, zygote.pool, state.message)
            zygotes.end(draft, zygote)
        case _:
            zygotes.end(draft, zygote)
            _import_failed(draft, zygote.pool, state)
    balance(draft, zygote.pool)
    return not zygote.pool


def _spawn_from_now_on(draft: Draft, key: str, reason: str) -> None:
    pool = draft.pools.get(key)
    if pool is not None:
        draft.put_pool(replace(pool, spawn_because=reason or "it cannot be forked"))


def _import_failed(draft: Draft, key: str, state: supervisor_pb2.ZygoteState) -> None:
    failure = common_pb2.Failure(
        type=state.error_type or "ModuleLoadError",
        message=state.message,
        traceback=state.traceback,
        kind=common_pb2.FAILURE_KIND_USER,
    )
    fail_waiting(draft, key, scheduler_pb2.ATTEMPT_PHASE_FAILED, failure)


def fail_waiting(
    draft: Draft, key: str, phase: scheduler_pb2.AttemptPhase, failure: common_pb2.Failure
) -> None:
    """End every attempt of a pool that no worker has yet."""
    for attempt in list(draft.attempts.values()):
        if attempt.pool == key and attempt.stage is Stage.WAITING:
            end_attempt(draft, attempt, phase, failure)


def end_attempt(
    draft: Draft,
    attempt: Attempt,
    phase: scheduler_pb2.AttemptPhase,
    failure: common_pb2.Failure | None,
) -> None:
    """Write an attempt's end, where its worker could not say it."""
    report = node_pb2.AttemptReport()
    report.CopyFrom(attempt.report)
    report.phase = phase
    report.message = ""
    report.worker = attempt.worker
    if failure is not None:
        report.error.CopyFrom(failure)
    report.ended_at.CopyFrom(timestamp(draft.now))
    draft.put_attempt(attempt._replace(stage=Stage.ENDED, report=report))


def zygote_gone(draft: Draft, zygote_id: str, why: str = "") -> bool:
    """A zygote's process has ended, or was not started. True when it was a base zygote."""
    zygote = zygotes.gone(draft, zygote_id)
    if zygote is None:
        return False
    if zygote.pool and zygote.phase is ZygotePhase.IMPORTING:
        failed(draft, zygote.pool, why or "the process that imports its module ended")
    balance(draft, zygote.pool)
    drop_if_unused(draft, zygote.pool)
    return not zygote.pool


def failed(draft: Draft, key: str, message: str) -> None:
    """A process of a pool ended before it was of use: after three, say so."""
    pool = draft.pools.get(key)
    if pool is None:
        return
    draft.put_pool(replace(pool, failures=pool.failures + 1))
    if pool.failures + 1 < MAX_FAILURES:
        return
    draft.put_pool(replace(pool, failures=0))
    failure = common_pb2.Failure(
        type="WorkerLost", message=message, kind=common_pb2.FAILURE_KIND_SYSTEM
    )
    fail_waiting(draft, key, scheduler_pb2.ATTEMPT_PHASE_LOST, failure)


def drop_if_unused(draft: Draft, key: str) -> None:
    """Forget a pool without attempts, workers or zygote, and its secrets."""
    if key not in draft.pools:
        return
    if (
        any(w.pool == key for w in draft.workers.values())
        or any(z.pool == key for z in draft.zygotes.values())
        or any(a.pool == key and a.stage is not Stage.ENDED for a in draft.attempts.values())
    ):
        return
    del draft.pools[key]
    draft.do(RemovePoolFiles(key))
