"""`step`: what one event makes of the state, and what there is to do about it."""

from __future__ import annotations

from callmesh_agent.core import (
    attempts,
    environments,
    events,
    instances,
    outcomes,
    pools,
    reports,
    workers,
    zygotes,
)
from callmesh_agent.core.draft import Draft
from callmesh_agent.core.instructions import (
    ForgetProcess,
    Instruction,
    ReportAttempt,
    ReportAttemptsComplete,
    ReportInstance,
    ReportInstancesComplete,
    WakeAt,
)
from callmesh_agent.core.state import BundleState, State, ZygotePhase
from callmeshpb.v1 import common_pb2, scheduler_pb2, supervisor_pb2

SETTLE = ("settle", "")


def step(state: State, event: events.Event, now: float) -> tuple[State, list[Instruction]]:
    """The next state and what to do, in order. Pure; ``now`` is in epoch seconds."""
    draft = Draft(state, now)
    _apply(draft, event)
    return draft.finish()


def _apply(draft: Draft, event: events.Event) -> None:
    match event:
        case events.AttemptOrdered(order):
            attempts.ordered(draft, order)
        case events.AttemptReleased(go):
            attempts.released(draft, go)
        case events.WorkerReported(worker_id, report):
            attempts.reported(draft, worker_id, report)
        case events.AttemptAcknowledged(ack):
            attempts.acknowledged(draft, ack)
        case events.AttemptStopRequested(stop):
            attempts.stop_requested(draft, stop)
        case events.WorkerConnected(worker_id, held):
            attempts.connected(draft, worker_id, held)
            _settle_soon(draft)
        case events.WorkerDisconnected(worker_id):
            attempts.disconnected(draft, worker_id)
        case events.SpoolRead(found):
            attempts.spooled(draft, found)
        case events.WorkersMeasured(sizes):
            _measured(draft, sizes)
        case events.Woke(key):
            _woke(draft, key)
        case events.SessionOpened():
            _session_opened(draft)
        case events.SessionClosed():
            attempts.session_closed(draft)
        case _:
            _apply_to_processes(draft, event)


def _apply_to_processes(draft: Draft, event: events.Event) -> None:
    match event:
        case events.DesiredReceived(desired):
            instances.receive_desired(draft, desired)
        case events.DesiredRead(desired):
            instances.remember_desired(draft, desired)
        case events.EndpointsChanged(endpoints):
            draft.endpoints = endpoints
            instances.advance_all(draft)
        case events.SupervisorConnected(processes):
            _supervised(draft, processes)
        case events.SupervisorLost():
            draft.supervised = False
        case events.ProcessStarted(process):
            _started(draft, process)
        case events.ProcessRefused():
            _refused(draft, event)
        case events.ProcessExited(process, log_tail):
            _exited(draft, process, log_tail)
        case events.ZygoteReported(state):
            if pools.zygote_reported(draft, state):
                _look_again(draft)
        case events.BundleUnpacked(digest):
            draft.bundles[digest] = BundleState.HERE
            _look_again(draft)
        case events.BundleFailed(digest, message):
            _bundle_failed(draft, digest, message)
        case events.EnvironmentProgressed(key, message):
            environments.progressed(draft, key, message)
            _look_again(draft)
        case events.EnvironmentBuilt(key):
            environments.built(draft, key)
            _look_again(draft)
        case events.EnvironmentFailed(key, message):
            _environment_failed(draft, key, message)
        case events.Discarded(found):
            for key in found:
                draft.environments.pop(key, None)
                draft.bundles.pop(key, None)
        case events.Warmed():
            draft.warm = True
            if draft.supervised:
                zygotes.need_base(draft)
        case _:
            _apply_to_instance(draft, event)


def _apply_to_instance(draft: Draft, event: events.Event) -> None:
    match event:
        case events.InstanceReady():
            outcomes.ready(draft, event)
        case events.InstanceNoted():
            outcomes.noted(draft, event)
        case events.InstanceUnwell():
            outcomes.unwell(draft, event)
        case events.RotationLeft():
            outcomes.rotation_left(draft, event)
        case events.ConnectionsGone():
            outcomes.connections_gone(draft, event)


def _session_opened(draft: Draft) -> None:
    """A server that may know nothing: say everything."""
    draft.session = True
    draft.desired_version = 0
    for instance in draft.instances.values():
        draft.do(ReportInstance(reports.instance_report(instance), at_once=True))
    draft.do(ReportInstancesComplete())
    for attempt in draft.attempts.values():
        draft.do(ReportAttempt(attempt.report))
    if draft.settled:
        draft.do(ReportAttemptsComplete())


def _supervised(draft: Draft, processes: tuple[supervisor_pb2.Process, ...]) -> None:
    # What has ended is told by an exit of its own, right after this.
    draft.supervised = True
    kinds: dict[str, dict[str, supervisor_pb2.Process]] = {}
    for process in processes:
        kind = process.process_id.partition("/")[0]
        kinds.setdefault(kind, {})[process.process_id] = process
    _meet_zygotes(draft, kinds.get("zygote", {}))
    _meet_workers(draft, kinds.get("worker", {}))
    if draft.warm:
        zygotes.need_base(draft)
    outcomes.supervised(draft, kinds.get("app", {}))
    if not draft.settled and not any(w.awaited for w in draft.workers.values()):
        _settle(draft)
    elif not draft.settled:
        draft.do(WakeAt(SETTLE, draft.now + draft.limits.settle))
    _look_again(draft)


def _meet_zygotes(draft: Draft, processes: dict[str, supervisor_pb2.Process]) -> None:
    for process in processes.values():
        if process.running:
            zygotes.adopt(draft, process)
    for zygote_id in sorted(draft.zygotes):
        if zygotes.PREFIX + zygote_id not in processes:
            pools.zygote_gone(draft, zygote_id)


def _meet_workers(draft: Draft, processes: dict[str, supervisor_pb2.Process]) -> None:
    for process in processes.values():
        if process.running:
            workers.adopt(draft, process, awaited=not draft.settled)
    for worker_id in sorted(draft.workers):
        if workers.PREFIX + worker_id not in processes:
            gone = supervisor_pb2.Process(process_id=workers.PREFIX + worker_id)
            attempts.worker_gone(draft, gone)


def _settle_soon(draft: Draft) -> None:
    """All are back: what else they hold comes right behind their hello."""
    waiting = any(each.awaited for each in draft.workers.values())
    if draft.supervised and not draft.settled and not waiting:
        draft.do(WakeAt(SETTLE, draft.now + draft.limits.hello))


def _settle(draft: Draft) -> None:
    """Nobody else will come back from before: absence counts from now on.

    That is said after everything that was reported in the same step.
    """
    draft.settled = True
    draft.do(WakeAt(SETTLE, None))
    for worker in list(draft.workers.values()):
        if worker.awaited:
            workers.kill(draft, worker._replace(awaited=False))
    for key in sorted(draft.pools):
        pools.balance(draft, key)


def _started(draft: Draft, process: supervisor_pb2.Process) -> None:
    if process.process_id.startswith(instances.PREFIX):
        outcomes.started(draft, process)
    elif process.process_id.startswith(workers.PREFIX):
        worker = draft.workers.get(process.process_id.removeprefix(workers.PREFIX))
        if worker is not None:
            draft.put_worker(worker._replace(started=True))


def _refused(draft: Draft, event: events.ProcessRefused) -> None:
    gone = supervisor_pb2.Process(process_id=event.process_id)
    if event.process_id.startswith(instances.PREFIX):
        outcomes.refused(draft, event)
    elif event.lost:
        # The next supervisor's list says whether it runs.
        return
    elif event.process_id.startswith(workers.PREFIX):
        attempts.worker_gone(draft, gone, (event.message,))
    elif pools.zygote_gone(draft, event.process_id.removeprefix(zygotes.PREFIX), event.message):
        _look_again(draft)


def _exited(draft: Draft, process: supervisor_pb2.Process, log_tail: tuple[str, ...]) -> None:
    if process.process_id.startswith(instances.PREFIX):
        outcomes.exited(draft, process, log_tail)
    elif process.process_id.startswith(workers.PREFIX):
        attempts.worker_gone(draft, process, log_tail)
    elif process.process_id.startswith(zygotes.PREFIX):
        if pools.zygote_gone(draft, process.process_id.removeprefix(zygotes.PREFIX)):
            _look_again(draft)
    else:
        draft.do(ForgetProcess(process.process_id))


def _look_again(draft: Draft) -> None:
    instances.advance_all(draft)
    for key in sorted(draft.pools):
        pools.balance(draft, key)


def _environment_failed(draft: Draft, key: str, message: str) -> None:
    """Its next user tries again; who waits now is told why."""
    draft.environments.pop(key, None)
    outcomes.preparation_failed(
        draft, lambda spec: environments.key_of(spec.image, draft.installation) == key, message
    )
    failure = common_pb2.Failure(
        type="ImageBuildError",
        message=message,
        kind=common_pb2.FAILURE_KIND_USER,
        non_recoverable=True,
    )
    for pool in list(draft.pools.values()):
        if environments.key_of(pool.recipe.image, draft.installation) == key:
            pools.fail_waiting(draft, pool.key, scheduler_pb2.ATTEMPT_PHASE_FAILED, failure)


def _bundle_failed(draft: Draft, digest: str, message: str) -> None:
    draft.bundles.pop(digest, None)
    outcomes.preparation_failed(draft, lambda spec: spec.code.bundle == digest, message)
    for pool in list(draft.pools.values()):
        if pool.recipe.code.bundle == digest:
            pools.failed(draft, pool.key, message)
            pools.balance(draft, pool.key)


def _measured(draft: Draft, sizes: object) -> None:
    assert isinstance(sizes, dict)
    for worker_id, (rss, log_size) in sizes.items():
        worker = draft.workers.get(worker_id)
        if worker is not None:
            workers.measured(draft, worker, rss, log_size)


def _woke(draft: Draft, key: events.Key) -> None:
    kind, name = key
    if key == SETTLE:
        if not draft.settled:
            _settle(draft)
    elif kind == "instance":
        instances.advance(draft, name)
    elif kind == "worker":
        _worker_woke(draft, name)
    elif kind == "zygote":
        _zygote_woke(draft, name)


def _worker_woke(draft: Draft, worker_id: str) -> None:
    worker = draft.workers.get(worker_id)
    if worker is None or worker.wake_at is None or draft.now < worker.wake_at:
        return
    if worker.idle:
        workers.retire(draft, worker)
    else:
        # It does not end, does not come back, or does not begin what it was given.
        workers.kill(draft, worker)


def _zygote_woke(draft: Draft, zygote_id: str) -> None:
    zygote = draft.zygotes.get(zygote_id)
    if zygote is None or zygote.wake_at is None or draft.now < zygote.wake_at:
        return
    if zygote.phase is ZygotePhase.IMPORTING and not zygote.pool:
        draft.base_failures[zygote.environment] = zygotes.MAX_FAILURES
    zygotes.end(draft, zygote)
    _look_again(draft)
