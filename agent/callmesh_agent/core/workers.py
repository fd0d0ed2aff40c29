"""One task worker's life: started, used, recycled, ended."""

from __future__ import annotations

import signal

from callmesh_agent.core.draft import Draft
from callmesh_agent.core.instructions import SignalProcess
from callmesh_agent.core.state import Worker
from callmeshpb.v1 import supervisor_pb2

PREFIX = "worker/"


def adopt(draft: Draft, process: supervisor_pb2.Process, *, awaited: bool) -> None:
    """A worker that lives from before: it says itself what it does."""
    worker_id = process.process_id.removeprefix(PREFIX)
    if worker_id in draft.workers:
        return
    draft.put_worker(
        Worker(
            id=worker_id,
            pool=process.labels.get("pool", ""),
            started=True,
            adopted=awaited,
            awaited=awaited,
            holds=tuple(process.labels.get(each, "") for each in ("bundle", "python")),
            overgrown=process.labels.get("base", "") != draft.base_hash,
            wake_at=draft.now + draft.limits.settle,
        )
    )


def is_spent(draft: Draft, worker: Worker) -> bool:
    """It shall take no further attempt."""
    return (
        worker.runs >= draft.limits.worker_runs
        or worker.overgrown
        or (worker.reserved is not None and worker.runs > 0)
    )


def freed(draft: Draft, worker: Worker) -> None:
    """Its attempt has ended: it takes another one, or is recycled."""
    free = worker._replace(
        attempt=None,
        runs=worker.runs + 1,
        idle_since=draft.now,
        wake_at=draft.now + draft.limits.worker_idle,
    )
    draft.put_worker(free)
    if is_spent(draft, free):
        retire(draft, free)


def retire(draft: Draft, worker: Worker) -> None:
    """End a worker that is not to be used any more."""
    if worker.retiring:
        return
    limit = draft.limits.kill
    draft.put_worker(worker._replace(retiring=True, wake_at=draft.now + limit + 2.0))
    draft.do(SignalProcess(PREFIX + worker.id, signal.SIGTERM, kill_after=limit))


def kill(draft: Draft, worker: Worker) -> None:
    """End a worker that does not answer."""
    draft.put_worker(worker._replace(retiring=True, wake_at=draft.now + 2.0))
    draft.do(SignalProcess(PREFIX + worker.id, signal.SIGKILL))


def retire_oldest_idle(draft: Draft) -> None:
    """Make room for a worker of another pool."""
    idle = [each for each in draft.workers.values() if each.idle]
    if idle:
        retire(draft, min(idle, key=lambda each: each.idle_since))


def trim_idle(draft: Draft) -> None:
    """Keep no more idle workers than the limit."""
    idle = sorted((w for w in draft.workers.values() if w.idle), key=lambda w: w.idle_since)
    for worker in idle[: max(0, len(idle) - draft.limits.idle_workers)]:
        retire(draft, worker)


def measured(draft: Draft, worker: Worker, rss: int, log_size: int) -> None:
    """Note how big it has become; an idle one that has outgrown its limits is ended."""
    first = worker.first_rss or rss
    overgrown = rss - first > draft.limits.worker_growth or log_size > draft.limits.worker_log
    if first == worker.first_rss and overgrown == worker.overgrown:
        return
    changed = worker._replace(first_rss=first, overgrown=overgrown)
    draft.put_worker(changed)
    if overgrown and changed.idle:
        retire(draft, changed)
