"""What becomes of an instance's process, and what follows from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from callmesh_agent.core import events, instances
from callmesh_agent.core.draft import Draft
from callmesh_agent.core.instructions import (
    AwaitDrained,
    EndProbe,
    ForgetProcess,
    Probe,
    RemoveInstanceFiles,
)
from callmesh_agent.core.reports import describe_end
from callmesh_agent.core.state import Instance, Phase
from callmesh_wire.backoff import Backoff
from callmeshpb.v1 import scheduler_pb2, supervisor_pb2

CRASH_BACKOFF = Backoff(base=0.5, factor=2.0, cap=60.0)
_GOING = {Phase.YIELDING, Phase.LEAVING, Phase.EMPTYING}
_ALIVE = {Phase.PROBING, Phase.READY, Phase.UNHEALTHY, *_GOING}


def adopt(draft: Draft, process: supervisor_pb2.Process) -> None:
    """A process that lives and was not known to: it goes on as it is."""
    instance_id = process.process_id.removeprefix(instances.PREFIX)
    known = draft.instances.get(instance_id)
    if known is None:
        known = Instance(id=instance_id, phase=Phase.PENDING, since=draft.now)
    adopted = replace(known, spec_hash=process.spec_hash, generation=known.generation + 1)
    _running(draft, adopted, process)


def started(draft: Draft, process: supervisor_pb2.Process) -> None:
    """A process that was asked for runs."""
    instance = draft.instances.get(process.process_id.removeprefix(instances.PREFIX))
    if instance is not None and instance.phase is Phase.STARTING:
        _running(draft, instance, process)


def _running(draft: Draft, instance: Instance, process: supervisor_pb2.Process) -> None:
    limit = instances.startup_limit(draft, instance)
    running = replace(instance, process=process, wake_at=draft.now + limit)
    instances.become(draft, running, Phase.PROBING, keep_wake=True)
    draft.do(Probe(instance.id, running.generation))
    instances.advance(draft, instance.id)


def refused(draft: Draft, refusal: events.ProcessRefused) -> None:
    """A process could not be started."""
    instance = draft.instances.get(refusal.process_id.removeprefix(instances.PREFIX))
    if instance is None or instance.phase is not Phase.STARTING:
        return
    draft.do(RemoveInstanceFiles(instance.id))
    if refusal.lost:
        instances.become(draft, instance, Phase.PENDING)
        instances.advance(draft, instance.id)
    elif not instances.wants_run(instance):
        instances.stopped(draft, instance)
    else:
        _back_off(draft, replace(instance, last_exit="", log_tail=()), refusal.message)


def preparation_failed(
    draft: Draft, is_waiting: Callable[[scheduler_pb2.AppSpec], bool], message: str
) -> None:
    """Code or an environment that instances wait for could not be had."""
    for instance in list(draft.instances.values()):
        if (
            instance.phase is Phase.PREPARING
            and instance.desired is not None
            and is_waiting(instance.desired.spec)
        ):
            _back_off(draft, instance, message)


def exited(draft: Draft, process: supervisor_pb2.Process, log_tail: tuple[str, ...]) -> None:
    """A process has ended."""
    draft.do(ForgetProcess(process.process_id))
    instance = draft.instances.get(process.process_id.removeprefix(instances.PREFIX))
    if instance is None or instance.phase in (Phase.BACKOFF, Phase.STOPPED):
        return
    if instance.process is not None and instance.process.pid != process.pid:
        return
    was_wanted_gone = instance.phase in _GOING or (
        instance.phase is Phase.TERMINATING and not instance.failing
    )
    ended = replace(
        instance,
        process=None,
        address="",
        port=0,
        exposed=False,
        last_exit=describe_end(process),
        log_tail=log_tail,
    )
    draft.do(EndProbe(instance.id), RemoveInstanceFiles(instance.id))
    if was_wanted_gone and instances.wants_run(instance):
        instances.become(draft, ended, Phase.PENDING)
        instances.advance(draft, instance.id)
    elif was_wanted_gone or instance.unwanted or instances.is_ending(instance):
        instances.stopped(draft, replace(ended, log_tail=()))
    else:
        _crashed(draft, ended)


def _crashed(draft: Draft, instance: Instance) -> None:
    assert instance.last_exit
    if instance.ready_since is not None:
        message = f"it ended with {instance.last_exit} while it served"
    elif instance.failing:
        message = instance.message
    else:
        message = f"it ended with {instance.last_exit} before it was ready"
    _back_off(draft, replace(instance, restarts=instance.restarts + 1), message)


def _back_off(draft: Draft, instance: Instance, message: str) -> None:
    """Start again later: at once after the first crash of what had been ready."""
    was_ready = instance.ready_since is not None
    healthy_for = draft.now - instance.ready_since if instance.ready_since is not None else 0.0
    crashes = 0 if healthy_for >= draft.limits.forget_crashes else instance.crashes
    delay = CRASH_BACKOFF.delay(crashes - 1 if was_ready else crashes)
    waiting = replace(
        instance,
        crashes=crashes + 1,
        failures=0 if was_ready else instance.failures + 1,
        ready_since=None,
        failing=False,
        wake_at=draft.now + delay,
    )
    then = f"is started again in {delay:g} s" if delay else "is started again"
    instances.become(draft, waiting, Phase.BACKOFF, message=f"{message}; {then}", keep_wake=True)
    if not delay:
        instances.advance(draft, instance.id)


def ready(draft: Draft, event: events.InstanceReady) -> None:
    """It answers: it takes calls from now on."""
    instance = _current(draft, event.instance_id, event.generation)
    if instance is None or instance.phase not in (Phase.PROBING, Phase.UNHEALTHY, Phase.READY):
        return
    since = instance.ready_since if instance.ready_since is not None else draft.now
    answering = replace(
        instance,
        address=event.address,
        port=event.port,
        exposed=event.exposed,
        ready_since=since,
        failures=0,
    )
    if instance.phase is Phase.READY:
        draft.put(replace(answering, message=""))
    else:
        instances.become(draft, answering, Phase.READY)


def noted(draft: Draft, event: events.InstanceNoted) -> None:
    """Why it is not ready yet."""
    instance = _current(draft, event.instance_id, event.generation)
    if instance is not None and instance.phase is Phase.PROBING:
        draft.put(replace(instance, message=event.message))


def unwell(draft: Draft, event: events.InstanceUnwell) -> None:
    """It takes no calls until it is ready again; without a listener it is ended in time."""
    instance = _current(draft, event.instance_id, event.generation)
    if instance is None or instance.phase is not Phase.READY:
        return
    limit = draft.now + instances.startup_limit(draft, instance) if event.listener_lost else None
    unhealthy = replace(instance, wake_at=limit)
    instances.become(draft, unhealthy, Phase.UNHEALTHY, message=event.message, keep_wake=True)


def rotation_left(draft: Draft, event: events.RotationLeft) -> None:
    """No new call reaches it; those in flight may end."""
    instance = _current(draft, event.instance_id, event.generation)
    if instance is not None and instance.phase is Phase.LEAVING:
        emptying = replace(instance, phase=Phase.EMPTYING, since=draft.now)
        draft.put(replace(emptying, message="its last calls may end"))
        draft.do(AwaitDrained(instance.id, instance.generation, instance.port))


def connections_gone(draft: Draft, event: events.ConnectionsGone) -> None:
    """Nobody is connected: it can be ended."""
    instance = _current(draft, event.instance_id, event.generation)
    if instance is not None and instance.phase is Phase.EMPTYING:
        instances.terminate(draft, instance, "is being ended")


def supervised(draft: Draft, processes: dict[str, supervisor_pb2.Process]) -> None:
    """A supervisor said everything that runs: bring both pictures together."""
    for process in processes.values():
        instance = draft.instances.get(process.process_id.removeprefix(instances.PREFIX))
        known = instance.process if instance is not None else None
        if not process.running:
            continue
        if instance is not None and instance.phase is Phase.STARTING:
            _running(draft, instance, process)
        elif known is None or known.pid != process.pid:
            adopt(draft, process)
    for instance in list(draft.instances.values()):
        if instances.PREFIX + instance.id in processes:
            continue
        if instance.phase is Phase.STARTING:
            instances.become(draft, instance, Phase.PENDING)
        elif instance.process is not None:
            exited(draft, instance.process, ())
    instances.advance_all(draft)


def _current(draft: Draft, instance_id: str, generation: int) -> Instance | None:
    instance = draft.instances.get(instance_id)
    if instance is None or instance.generation != generation or instance.phase not in _ALIVE:
        return None
    return instance
