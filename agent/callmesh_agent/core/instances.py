"""One instance's way: started, proved ready, kept, drained, ended.

`advance` looks at the whole picture (what is wanted, what the process does,
what is on disk) and takes the next step that is possible; every event that
concerns an instance ends in it. Calls in flight are spared by an order that
must not change: out of rotation, acknowledged by Envoy, connections gone or
the drain time up, TERM, KILL.
"""

from __future__ import annotations

import hashlib
import signal
from dataclasses import replace

from callmesh_wire.backoff import Backoff
from callmesh_wire.names import AppName
from callmeshpb.v1 import node_pb2, scheduler_pb2, supervisor_pb2

from callmesh_agent.core import bundles, events, zygotes
from callmesh_agent.core.draft import Draft
from callmesh_agent.core.instructions import (
    AwaitDrained,
    EndProbe,
    ForgetProcess,
    LeaveRotation,
    Probe,
    RemoveInstanceFiles,
    SignalProcess,
    StartInstance,
)
from callmesh_agent.core.reports import describe_exit
from callmesh_agent.core.state import Instance, Phase

CRASH_BACKOFF = Backoff(base=0.5, factor=2.0, cap=60.0)
PREFIX = "app/"

_NOT_OF_THE_PROCESS = (
    "version",
    "description",
    "links",
    "min_replicas",
    "max_replicas",
    "timeouts",
    "health_path",
    "requires_auth",
    "depends_on",
    "cookie_affinity",
    "prefer_local",
    "custom_domain",
)
_ALIVE = {Phase.PROBING, Phase.READY, Phase.UNHEALTHY, Phase.LEAVING, Phase.EMPTYING}


def spec_hash(desired: node_pb2.DesiredInstance) -> str:
    """Hash of what a process is made from; what can change under it is left out.

    Secret values are: an instance keeps those that it started with.
    """
    spec = scheduler_pb2.AppSpec()
    spec.CopyFrom(desired.spec)
    for name in _NOT_OF_THE_PROCESS:
        spec.ClearField(name)
    return hashlib.sha256(spec.SerializeToString(deterministic=True)).hexdigest()[:16]


def receive_desired(draft: Draft, desired: node_pb2.DesiredSet) -> None:
    """Take over everything that the server wants of this node."""
    wanted = {each.instance.id: each for each in desired.instances}
    for instance_id, each in wanted.items():
        known = draft.instances.get(instance_id)
        if known is None:
            known = Instance(id=instance_id, phase=Phase.PENDING, since=draft.now)
        draft.put(replace(known, desired=each, unwanted=False))
        advance(draft, instance_id)
    for instance_id in sorted(set(draft.instances) - set(wanted)):
        draft.put(replace(draft.instances[instance_id], unwanted=True))
        advance(draft, instance_id)


def advance_all(draft: Draft) -> None:
    """Something changed that any instance may have waited for."""
    for instance_id in sorted(draft.instances):
        advance(draft, instance_id)


def advance(draft: Draft, instance_id: str) -> None:
    """Take the next step that is possible for one instance."""
    instance = draft.instances.get(instance_id)
    if instance is None:
        return
    if instance.phase is Phase.TERMINATING:
        _insist(draft, instance)
    elif instance.desired is None and not instance.unwanted:
        return
    elif _is_kept(instance):
        _run(draft, instance)
    else:
        _end(draft, instance)


def _wants_run(instance: Instance) -> bool:
    return (
        instance.desired is not None
        and not instance.unwanted
        and instance.desired.instance.intent == scheduler_pb2.INSTANCE_INTENT_RUN
    )


def _is_ending(instance: Instance) -> bool:
    return instance.desired is not None and not _wants_run(instance)


def _is_kept(instance: Instance) -> bool:
    if not _wants_run(instance):
        return False
    if instance.process is None or instance.desired is None:
        return True
    return instance.spec_hash == spec_hash(instance.desired)


def _run(draft: Draft, instance: Instance) -> None:
    due = instance.wake_at is not None and draft.now >= instance.wake_at
    match instance.phase:
        case Phase.PENDING | Phase.PREPARING:
            _start_when_possible(draft, instance)
        case Phase.BACKOFF if due:
            _start_when_possible(draft, _become(draft, instance, Phase.PENDING))
        case Phase.PROBING | Phase.UNHEALTHY if due:
            _give_up(draft, instance)
        case Phase.STOPPED:
            _start_when_possible(draft, _become(draft, instance, Phase.PENDING))
        case _:
            pass


def _start_when_possible(draft: Draft, instance: Instance) -> None:
    assert instance.desired is not None
    spec = instance.desired.spec
    reason = _missing_endpoint(draft, spec)
    if not draft.supervised:
        reason = "waits for this node's supervisor, which is being started"
    if reason:
        _become(draft, instance, Phase.PENDING, message=reason)
        return
    blobs = [spec.code.bundle] if spec.code.bundle else []
    if not all([bundles.need(draft, digest) for digest in blobs]):
        _become(draft, instance, Phase.PREPARING, message="its code is being unpacked")
        return
    zygote = ""
    if spec.kind != scheduler_pb2.APP_KIND_COMMAND:
        usable = zygotes.need_base(draft)
        if usable is None:
            _become(draft, instance, Phase.PREPARING, message="Python is being started")
            return
        zygote = usable
    digest = spec_hash(instance.desired)
    started = replace(instance, generation=instance.generation + 1, spec_hash=digest)
    _become(draft, started, Phase.STARTING)
    draft.do(StartInstance(instance.id, zygote))


def _missing_endpoint(draft: Draft, spec: scheduler_pb2.AppSpec) -> str:
    for parameter in spec.parameters:
        if parameter.WhichOneof("value") == "app_endpoint":
            name = AppName(spec.project, spec.domain, parameter.app_endpoint).mesh_name
            if name not in draft.endpoints:
                return (
                    f"parameter `{parameter.name}` waits for the address of app "
                    f"`{parameter.app_endpoint}`: deploy it"
                )
    return ""


def _give_up(draft: Draft, instance: Instance) -> None:
    if instance.phase is Phase.UNHEALTHY:
        message = f"{instance.message}; ended to be started anew"
    else:
        seconds = _startup_limit(draft, instance)
        message = f"not ready within {seconds:g} s"
        if instance.message:
            message += f": {instance.message}"
    _terminate(draft, replace(instance, failing=True), message)


def _end(draft: Draft, instance: Instance) -> None:
    desired = instance.desired
    at_once = (
        desired is not None
        and not instance.unwanted
        and desired.instance.intent == scheduler_pb2.INSTANCE_INTENT_STOP
    )
    due = instance.wake_at is not None and draft.now >= instance.wake_at
    match instance.phase:
        case Phase.PENDING | Phase.PREPARING | Phase.BACKOFF | Phase.STOPPED:
            _stopped(draft, instance)
        case Phase.STARTING:
            pass
        case Phase.READY if not at_once:
            limit = _drain_limit(draft, instance)
            leaving = replace(instance, wake_at=draft.now + limit)
            _become(draft, leaving, Phase.LEAVING, message="takes no new calls", keep_wake=True)
            draft.do(EndProbe(instance.id), LeaveRotation(instance.id, instance.generation))
        case Phase.LEAVING | Phase.EMPTYING if not at_once and not due:
            pass
        case _:
            _terminate(draft, instance, "is being ended")


def _terminate(draft: Draft, instance: Instance, message: str) -> None:
    ending = replace(instance, wake_at=draft.now + draft.limits.kill + 2.0)
    _become(draft, ending, Phase.TERMINATING, message=message, keep_wake=True)
    draft.do(
        EndProbe(instance.id),
        SignalProcess(PREFIX + instance.id, signal.SIGTERM, kill_after=draft.limits.kill),
    )


def _insist(draft: Draft, instance: Instance) -> None:
    """The supervisor that should have sent KILL may have died meanwhile."""
    if instance.wake_at is not None and draft.now >= instance.wake_at:
        draft.put(replace(instance, wake_at=draft.now + 2.0))
        draft.do(SignalProcess(PREFIX + instance.id, signal.SIGKILL))


def _stopped(draft: Draft, instance: Instance) -> None:
    if instance.unwanted:
        draft.remove(instance.id)
    else:
        _become(draft, instance, Phase.STOPPED)


def adopt(draft: Draft, process: supervisor_pb2.Process) -> None:
    """A process that lives and was not known to: it goes on as it is."""
    instance_id = process.process_id.removeprefix(PREFIX)
    known = draft.instances.get(instance_id)
    if known is None:
        known = Instance(id=instance_id, phase=Phase.PENDING, since=draft.now)
    adopted = replace(known, spec_hash=process.spec_hash, generation=known.generation + 1)
    _running(draft, adopted, process)


def started(draft: Draft, process: supervisor_pb2.Process) -> None:
    """A process that was asked for runs."""
    instance = draft.instances.get(process.process_id.removeprefix(PREFIX))
    if instance is not None and instance.phase is Phase.STARTING:
        _running(draft, instance, process)


def _running(draft: Draft, instance: Instance, process: supervisor_pb2.Process) -> None:
    limit = _startup_limit(draft, instance)
    running = replace(instance, process=process, wake_at=draft.now + limit)
    _become(draft, running, Phase.PROBING, keep_wake=True)
    draft.do(Probe(instance.id, running.generation))
    advance(draft, instance.id)


def refused(draft: Draft, refusal: events.ProcessRefused) -> None:
    """A process could not be started."""
    instance = draft.instances.get(refusal.process_id.removeprefix(PREFIX))
    if instance is None or instance.phase is not Phase.STARTING:
        return
    draft.do(RemoveInstanceFiles(instance.id))
    if refusal.lost:
        _become(draft, instance, Phase.PENDING)
        advance(draft, instance.id)
    elif not _wants_run(instance):
        _stopped(draft, instance)
    else:
        _back_off(draft, replace(instance, last_exit="", log_tail=()), refusal.message)


def bundle_failed(draft: Draft, digest: str, message: str) -> None:
    """Code that instances wait for could not be had."""
    for instance in list(draft.instances.values()):
        if (
            instance.phase is Phase.PREPARING
            and instance.desired is not None
            and instance.desired.spec.code.bundle == digest
        ):
            _back_off(draft, instance, message)


def exited(draft: Draft, process: supervisor_pb2.Process, log_tail: tuple[str, ...]) -> None:
    """A process has ended."""
    draft.do(ForgetProcess(process.process_id))
    instance = draft.instances.get(process.process_id.removeprefix(PREFIX))
    if instance is None or instance.phase in (Phase.BACKOFF, Phase.STOPPED):
        return
    if instance.process is not None and instance.process.pid != process.pid:
        return
    was_wanted_gone = instance.phase in (Phase.LEAVING, Phase.EMPTYING) or (
        instance.phase is Phase.TERMINATING and not instance.failing
    )
    status = process.exit_status if process.HasField("exit_status") else None
    ended = replace(
        instance,
        process=None,
        address="",
        port=0,
        exposed=False,
        last_exit=describe_exit(status),
        log_tail=log_tail,
    )
    draft.do(EndProbe(instance.id), RemoveInstanceFiles(instance.id))
    if was_wanted_gone and _wants_run(instance):
        _become(draft, ended, Phase.PENDING)
        advance(draft, instance.id)
    elif was_wanted_gone or instance.unwanted or _is_ending(instance):
        _stopped(draft, replace(ended, log_tail=()))
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
    _become(draft, waiting, Phase.BACKOFF, message=f"{message}; {then}", keep_wake=True)
    if not delay:
        advance(draft, instance.id)


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
        log_tail=(),
    )
    message = "listens beyond this machine by its own choice" if event.exposed else ""
    if instance.phase is Phase.READY:
        draft.put(replace(answering, message=message))
    else:
        _become(draft, answering, Phase.READY, message=message)


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
    limit = draft.now + _startup_limit(draft, instance) if event.listener_lost else None
    unhealthy = replace(instance, wake_at=limit)
    _become(draft, unhealthy, Phase.UNHEALTHY, message=event.message, keep_wake=True)


def rotation_left(draft: Draft, event: events.RotationLeft) -> None:
    """No new call reaches it; those in flight may end."""
    instance = _current(draft, event.instance_id, event.generation)
    if instance is not None and instance.phase is Phase.LEAVING:
        _become(draft, instance, Phase.EMPTYING, message="its last calls may end", keep_wake=True)
        draft.do(AwaitDrained(instance.id, instance.generation, instance.port))


def connections_gone(draft: Draft, event: events.ConnectionsGone) -> None:
    """Nobody is connected: it can be ended."""
    instance = _current(draft, event.instance_id, event.generation)
    if instance is not None and instance.phase is Phase.EMPTYING:
        _terminate(draft, instance, "is being ended")


def supervised(draft: Draft, processes: dict[str, supervisor_pb2.Process]) -> None:
    """A supervisor said everything that runs: bring both pictures together."""
    for process in processes.values():
        instance = draft.instances.get(process.process_id.removeprefix(PREFIX))
        known = instance.process if instance is not None else None
        if not process.running:
            exited(draft, process, ())
        elif instance is not None and instance.phase is Phase.STARTING:
            _running(draft, instance, process)
        elif known is None or known.pid != process.pid:
            adopt(draft, process)
    for instance in list(draft.instances.values()):
        if PREFIX + instance.id in processes:
            continue
        if instance.phase is Phase.STARTING:
            _become(draft, instance, Phase.PENDING)
        elif instance.process is not None:
            exited(draft, instance.process, ())
    advance_all(draft)


def _current(draft: Draft, instance_id: str, generation: int) -> Instance | None:
    instance = draft.instances.get(instance_id)
    if instance is None or instance.generation != generation or instance.phase not in _ALIVE:
        return None
    return instance


def _startup_limit(draft: Draft, instance: Instance) -> float:
    if instance.desired is not None and instance.desired.spec.timeouts.HasField("startup"):
        return instance.desired.spec.timeouts.startup.ToTimedelta().total_seconds()
    return draft.limits.startup


def _drain_limit(draft: Draft, instance: Instance) -> float:
    if instance.desired is not None and instance.desired.spec.timeouts.HasField("drain"):
        return instance.desired.spec.timeouts.drain.ToTimedelta().total_seconds()
    return draft.limits.drain


def _become(
    draft: Draft, instance: Instance, phase: Phase, *, message: str = "", keep_wake: bool = False
) -> Instance:
    before = draft.instances.get(instance.id)
    since = instance.since if before is not None and before.phase is phase else draft.now
    changed = replace(
        instance,
        phase=phase,
        since=since,
        message=message,
        wake_at=instance.wake_at if keep_wake else None,
    )
    draft.put(changed)
    return changed
