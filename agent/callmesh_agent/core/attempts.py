"""Attempts of runs: ordered, released, reported, acknowledged; and what ends them early.

A worker's report is the truth about an attempt for as long as the worker
lives; what it can no longer say is said here. An attempt's end is kept, and
said again to every new session, until the store has it.
"""

from __future__ import annotations

import signal
from dataclasses import replace

from callmesh_agent.core import pools, workers
from callmesh_agent.core.draft import Draft
from callmesh_agent.core.instructions import (
    ForgetProcess,
    ForgetSpooled,
    ReportAttempt,
    SendAck,
    SendGo,
    SendPrepare,
    SignalProcess,
)
from callmesh_agent.core.reports import describe_end, timestamp
from callmesh_agent.core.state import Attempt, AttemptKey, Pool, Stage, Worker
from callmeshpb.v1 import common_pb2, node_pb2, scheduler_pb2, supervisor_pb2

_ENDED = {
    scheduler_pb2.ATTEMPT_PHASE_SUCCEEDED,
    scheduler_pb2.ATTEMPT_PHASE_FAILED,
    scheduler_pb2.ATTEMPT_PHASE_LOST,
    scheduler_pb2.ATTEMPT_PHASE_ABORTED,
    scheduler_pb2.ATTEMPT_PHASE_TIMED_OUT,
}

# What ends a worker that does nothing wrong: signals that others send, and TERM obeyed.
_FROM_OUTSIDE = {
    -signal.SIGKILL,
    -signal.SIGTERM,
    -signal.SIGINT,
    -signal.SIGHUP,
    128 + signal.SIGTERM,
}


def key_of(run: str, fence: common_pb2.Fence) -> AttemptKey:
    """An attempt's identity in any message about it."""
    return AttemptKey(run, fence.epoch, fence.counter)


def ordered(draft: Draft, order: node_pb2.AttemptOrder) -> None:
    """Prepare an attempt. One that is known is only reported again."""
    key = key_of(order.run, order.fence)
    known = draft.attempts.get(key)
    if known is not None:
        if draft.session:
            draft.do(ReportAttempt(known.report))
        return
    pool = pools.key_of(order)
    if pool not in draft.pools:
        draft.put_pool(Pool(key=pool, recipe=pools.recipe_of(order)))
    report = node_pb2.AttemptReport(
        run=order.run,
        number=order.number,
        fence=order.fence,
        phase=scheduler_pb2.ATTEMPT_PHASE_DISPATCHED,
    )
    draft.put_attempt(Attempt(key=key, stage=Stage.WAITING, report=report, pool=pool, order=order))
    pools.balance(draft, pool)


def released(draft: Draft, go: node_pb2.AttemptGo) -> None:
    """The run is committed: its worker may start, now or when there is one."""
    attempt = draft.attempts.get(key_of(go.run, go.fence))
    if attempt is None:
        _unknown(draft, go.run, go.fence, scheduler_pb2.ATTEMPT_PHASE_LOST)
        return
    if attempt.released:
        return
    draft.put_attempt(attempt._replace(released=True))
    if attempt.stage is Stage.PREPARED and not attempt.stopping:
        draft.do(SendGo(attempt.worker, go))


def stop_requested(draft: Draft, stop: node_pb2.AttemptStop) -> None:
    """End the user's code: TERM, and KILL after the grace."""
    attempt = draft.attempts.get(key_of(stop.run, stop.fence))
    if attempt is None:
        _unknown(draft, stop.run, stop.fence, scheduler_pb2.ATTEMPT_PHASE_ABORTED)
        return
    worker = draft.workers.get(attempt.worker)
    if attempt.stage is Stage.ENDED:
        draft.do(ReportAttempt(attempt.report))
    elif worker is None:
        pools.end_attempt(
            draft, attempt, scheduler_pb2.ATTEMPT_PHASE_ABORTED, _aborted(stop.reason)
        )
    else:
        grace = stop.grace.ToTimedelta().total_seconds() or draft.limits.kill
        draft.put_attempt(attempt._replace(stopping=stop.reason or "stopped"))
        draft.put_worker(worker._replace(retiring=True, wake_at=draft.now + grace + 2.0))
        draft.do(
            SignalProcess(workers.PREFIX + worker.id, signal.SIGTERM, kill_after=max(grace, 0.1))
        )


def acknowledged(draft: Draft, ack: node_pb2.AttemptAck) -> None:
    """The store holds its end, or does not know the attempt: forget it."""
    key = key_of(ack.run, ack.fence)
    attempt = draft.attempts.pop(key, None)
    worker = draft.workers.get(attempt.worker) if attempt is not None else None
    if worker is not None and worker.connected and worker.attempt != key:
        # It removes what it may have spooled when it hears of this.
        draft.do(SendAck(worker.id, ack))
        if attempt is None or not attempt.spooled:
            return
    draft.do(ForgetSpooled(key.run, key.epoch, key.counter))
    if attempt is None:
        return
    if worker is None:
        pools.drop_if_unused(draft, attempt.pool)
    elif worker.attempt == key:
        workers.kill(draft, worker._replace(attempt=None))


def reported(draft: Draft, worker_id: str, report: node_pb2.AttemptReport) -> None:
    """A worker says how an attempt goes."""
    key = key_of(report.run, report.fence)
    attempt = draft.attempts.get(key)
    if attempt is None:
        _adopt(draft, worker_id, report)
        return
    if attempt.worker != worker_id or attempt.stage is Stage.ENDED:
        return
    ended = report.phase in _ENDED
    pool = draft.pools.get(attempt.pool)
    if pool is not None and pool.spawn_because:
        report = _spawned(report, pool.spawn_because)
    draft.put_attempt(
        attempt._replace(
            stage=Stage.ENDED if ended else Stage.RUNNING,
            report=_as_stopped(attempt, report) if ended else report,
        )
    )
    worker = draft.workers.get(worker_id)
    if not ended and worker is not None and worker.wake_at is not None and not worker.retiring:
        draft.put_worker(worker._replace(wake_at=None))
    if ended and worker is not None and worker.attempt == key:
        workers.freed(draft, worker)
        pool = draft.pools.get(worker.pool)
        if pool is not None and pool.failures:
            draft.put_pool(replace(pool, failures=0))
        pools.balance(draft, worker.pool)
        workers.trim_idle(draft)


def _spawned(report: node_pb2.AttemptReport, reason: str) -> node_pb2.AttemptReport:
    changed = node_pb2.AttemptReport()
    changed.CopyFrom(report)
    changed.spawned_because = reason
    return changed


def _as_stopped(attempt: Attempt, report: node_pb2.AttemptReport) -> node_pb2.AttemptReport:
    """What user code made of being stopped is no failure of its own."""
    if not attempt.stopping or report.phase != scheduler_pb2.ATTEMPT_PHASE_FAILED:
        return report
    changed = node_pb2.AttemptReport()
    changed.CopyFrom(report)
    changed.phase = scheduler_pb2.ATTEMPT_PHASE_ABORTED
    changed.error.CopyFrom(_aborted(attempt.stopping))
    return changed


def connected(draft: Draft, worker_id: str, report: node_pb2.AttemptReport | None) -> None:
    """A worker's line is open: take over what it holds, give it what waits."""
    worker = draft.workers.get(worker_id)
    if worker is None:
        return
    here = worker._replace(
        started=True,
        connected=True,
        awaited=False,
        idle_since=draft.now,
        wake_at=worker.wake_at if worker.retiring else draft.now + draft.limits.worker_idle,
    )
    draft.put_worker(here)
    if report is not None:
        came_back_with(draft, here, report)
    elif here.attempt is not None:
        _tell_again(draft, here)
    elif workers.is_spent(draft, here):
        workers.retire(draft, here)
    pools.balance(draft, worker.pool)


def came_back_with(draft: Draft, worker: Worker, report: node_pb2.AttemptReport) -> None:
    """An attempt that a worker says it has, perhaps from before this agent."""
    reported(draft, worker.id, report)
    here = draft.workers[worker.id]
    if here.attempt is not None and draft.attempts[here.attempt].stage is Stage.PREPARED:
        # Whether it has begun that one is said right behind this, or the order was lost.
        draft.put_worker(here._replace(wake_at=draft.now + draft.limits.worker_return))


def _adopt(draft: Draft, worker_id: str, report: node_pb2.AttemptReport) -> None:
    """One from before this agent, or from before its ack: the server says which."""
    worker = draft.workers.get(worker_id)
    if worker is None:
        return
    key = key_of(report.run, report.fence)
    ended = report.phase in _ENDED
    stage = Stage.ENDED if ended else Stage.RUNNING
    draft.put_attempt(Attempt(key=key, stage=stage, report=report, worker=worker_id, released=True))
    if not ended:
        draft.put_worker(worker._replace(attempt=key, wake_at=None))


def _tell_again(draft: Draft, worker: Worker) -> None:
    """It holds no report, so it has not begun: what it was told went down with the line."""
    assert worker.attempt is not None
    attempt = draft.attempts[worker.attempt]
    draft.put_worker(worker._replace(wake_at=None))
    if attempt.stage is Stage.PREPARED and attempt.order is not None and not attempt.stopping:
        draft.do(SendPrepare(worker.id, attempt.order))
        if attempt.released:
            draft.do(SendGo(worker.id, pools.go_of(attempt)))


def disconnected(draft: Draft, worker_id: str) -> None:
    """Its line broke: it has a moment to come back, or its process has ended."""
    worker = draft.workers.get(worker_id)
    if worker is None or not worker.connected:
        return
    back_by = draft.now + draft.limits.worker_return
    draft.put_worker(
        worker._replace(connected=False, wake_at=worker.wake_at if worker.retiring else back_by)
    )


def worker_gone(
    draft: Draft, process: supervisor_pb2.Process, log_tail: tuple[str, ...] = ()
) -> None:
    """A worker's process has ended: say what became of its attempt."""
    worker_id = process.process_id.removeprefix(workers.PREFIX)
    draft.do(ForgetProcess(process.process_id))
    worker = draft.workers.get(worker_id)
    if worker is None:
        return
    draft.remove_worker(worker_id)
    text = describe_end(process)
    attempt = draft.attempts.get(worker.attempt) if worker.attempt is not None else None
    if attempt is not None and attempt.stage is not Stage.ENDED:
        _ended_by_exit(draft, attempt, process)
    elif worker.attempt is None and worker.runs == 0 and not worker.retiring:
        last = f": {log_tail[-1]}" if log_tail else ""
        message = f"worker `{worker_id}` ended with {text} before it took work{last}"
        pools.failed(draft, worker.pool, message)
    pools.balance(draft, worker.pool)
    pools.drop_if_unused(draft, worker.pool)


def _is_own_doing(attempt: Attempt, process: supervisor_pb2.Process) -> bool:
    """Whether the user's code ended its process: nobody else sends these signals."""
    if attempt.stage is not Stage.RUNNING or not process.HasField("exit_status"):
        return False
    return process.out_of_memory or process.exit_status not in _FROM_OUTSIDE


def _ended_by_exit(draft: Draft, attempt: Attempt, process: supervisor_pb2.Process) -> None:
    if attempt.stopping:
        pools.end_attempt(
            draft, attempt, scheduler_pb2.ATTEMPT_PHASE_ABORTED, _aborted(attempt.stopping)
        )
        return
    text = describe_end(process)
    if _is_own_doing(attempt, process):
        failure = common_pb2.Failure(
            type="OutOfMemory" if process.out_of_memory else "ProcessEnded",
            message=f"the task's process ended with {text}"
            + ("; hold less, or ask for a node with more" if process.out_of_memory else ""),
            kind=common_pb2.FAILURE_KIND_USER,
        )
        pools.end_attempt(draft, attempt, scheduler_pb2.ATTEMPT_PHASE_FAILED, failure)
        return
    failure = common_pb2.Failure(
        type="WorkerLost",
        message=f"its worker `{attempt.worker}` ended with {text}",
        kind=common_pb2.FAILURE_KIND_SYSTEM,
    )
    pools.end_attempt(draft, attempt, scheduler_pb2.ATTEMPT_PHASE_LOST, failure)


def session_closed(draft: Draft) -> None:
    """Nobody acknowledges what has ended: it must not be in memory alone."""
    draft.session = False
    for attempt in list(draft.attempts.values()):
        if attempt.stage is Stage.ENDED:
            draft.put_attempt(attempt)


def spooled(draft: Draft, reports: tuple[node_pb2.AttemptReport, ...]) -> None:
    """Results that were written to disk while there was no agent or no server."""
    for report in reports:
        key = key_of(report.run, report.fence)
        if key not in draft.attempts:
            draft.put_attempt(
                Attempt(
                    key=key,
                    stage=Stage.ENDED,
                    report=report,
                    worker=report.worker,
                    spooled=True,
                )
            )


def _aborted(reason: str) -> common_pb2.Failure:
    return common_pb2.Failure(
        type="Aborted", message=reason or "stopped", kind=common_pb2.FAILURE_KIND_USER
    )


def _unknown(
    draft: Draft, run: str, fence: common_pb2.Fence, phase: scheduler_pb2.AttemptPhase
) -> None:
    report = node_pb2.AttemptReport(
        run=run, fence=fence, phase=phase, ended_at=timestamp(draft.now)
    )
    report.error.CopyFrom(
        common_pb2.Failure(
            type="WorkerLost",
            message="its node does not know it",
            kind=common_pb2.FAILURE_KIND_SYSTEM,
        )
    )
    draft.do(ReportAttempt(report))
