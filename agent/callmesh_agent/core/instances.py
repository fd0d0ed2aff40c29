"""One instance's way: started, proved ready, kept, drained, ended.

`advance` looks at the whole picture (what is wanted, what the process does,
what is on disk) and takes the next step that is possible; every event that
concerns an instance ends in it. Calls are spared by an order that must not
change: out of this node's rotation, out of every other node's, closed to them
too and acknowledged by Envoy, connections gone or the drain time up, TERM, KILL.
"""

from __future__ import annotations

import hashlib
import signal
from dataclasses import replace

from callmesh_agent.core import bundles, environments, zygotes
from callmesh_agent.core.draft import Draft
from callmesh_agent.core.instructions import (
    EndProbe,
    KeepDesired,
    LeaveRotation,
    SignalProcess,
    StartInstance,
)
from callmesh_agent.core.state import Instance, Phase
from callmesh_wire.names import AppName
from callmeshpb.v1 import node_pb2, scheduler_pb2

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
    """Take over everything that the server wants of this node.

    Within a session the version never goes back; a server that begins one says
    what holds, whatever its version is.
    """
    if desired.version < draft.desired_version:
        return
    draft.desired_version = desired.version
    draft.do(KeepDesired(desired))
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


def remember_desired(draft: Draft, desired: node_pb2.DesiredSet) -> None:
    """Go on with what the server wanted when it was last heard.

    What lives and is not in it was wanted by a later set, which was not written
    down in time: it goes on as well, until the server says otherwise.
    """
    for each in desired.instances:
        known = draft.instances.get(each.instance.id)
        if known is None:
            known = Instance(id=each.instance.id, phase=Phase.PENDING, since=draft.now)
        draft.put(replace(known, desired=each))
        advance(draft, known.id)


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


def wants_run(instance: Instance) -> bool:
    return (
        instance.desired is not None
        and not instance.unwanted
        and instance.desired.instance.intent == scheduler_pb2.INSTANCE_INTENT_RUN
    )


def is_ending(instance: Instance) -> bool:
    return instance.desired is not None and not wants_run(instance)


def _is_kept(instance: Instance) -> bool:
    if not wants_run(instance):
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
            _start_when_possible(draft, become(draft, instance, Phase.PENDING))
        case Phase.PROBING | Phase.UNHEALTHY if due:
            _give_up(draft, instance)
        case Phase.STOPPED:
            _start_when_possible(draft, become(draft, instance, Phase.PENDING))
        case _:
            pass


def _start_when_possible(draft: Draft, instance: Instance) -> None:
    assert instance.desired is not None
    spec = instance.desired.spec
    reason = _missing_endpoint(draft, spec)
    if not draft.supervised:
        reason = "waits for this node's supervisor, which is being started"
    if reason:
        become(draft, instance, Phase.PENDING, message=reason)
        return
    # Both are begun at once.
    is_unpacked = bundles.need(draft, spec.code.bundle)
    building = environments.need(draft, spec.image)
    if building or not is_unpacked:
        message = building or "its code is being unpacked"
        become(draft, instance, Phase.PREPARING, message=message)
        return
    zygote = ""
    if spec.kind != scheduler_pb2.APP_KIND_COMMAND:
        key = environments.key_of(spec.image, draft.installation)
        usable = zygotes.need_base(draft, key)
        if usable is None:
            become(draft, instance, Phase.PREPARING, message="Python is being started")
            return
        zygote = usable
        zygotes.used(draft, zygote)
    started = replace(
        instance,
        generation=instance.generation + 1,
        spec_hash=spec_hash(instance.desired),
        prepared_at=instance.prepared_at or draft.now,
    )
    become(draft, started, Phase.STARTING)
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
        seconds = startup_limit(draft, instance)
        message = f"not ready within {seconds:g} s"
        if instance.message:
            message += f": {instance.message}"
    terminate(draft, replace(instance, failing=True), message)


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
            stopped(draft, instance)
        case Phase.STARTING:
            pass
        case Phase.READY if not at_once:
            draft.do(EndProbe(instance.id))
            if desired is not None and desired.called_elsewhere:
                yielding = replace(instance, wake_at=draft.now + draft.limits.yielding)
                message = "takes calls of nodes that have not heard yet that it goes"
                become(draft, yielding, Phase.YIELDING, message=message, keep_wake=True)
            else:
                _leave(draft, instance)
        case Phase.YIELDING if not at_once:
            heard = desired is None or instance.unwanted or not desired.called_elsewhere
            if heard or due:
                _leave(draft, instance)
        case Phase.LEAVING | Phase.EMPTYING if not at_once and not due:
            pass
        case _:
            terminate(draft, instance, "is being ended")


def _leave(draft: Draft, instance: Instance) -> None:
    leaving = replace(instance, wake_at=draft.now + _drain_limit(draft, instance))
    become(draft, leaving, Phase.LEAVING, message="takes no new calls", keep_wake=True)
    draft.do(LeaveRotation(instance.id, instance.generation))


def terminate(draft: Draft, instance: Instance, message: str) -> None:
    ending = replace(instance, wake_at=draft.now + draft.limits.kill + 2.0)
    become(draft, ending, Phase.TERMINATING, message=message, keep_wake=True)
    draft.do(
        EndProbe(instance.id),
        SignalProcess(PREFIX + instance.id, signal.SIGTERM, kill_after=draft.limits.kill),
    )


def _insist(draft: Draft, instance: Instance) -> None:
    """The supervisor that should have sent KILL may have died meanwhile."""
    if instance.wake_at is not None and draft.now >= instance.wake_at:
        draft.put(replace(instance, wake_at=draft.now + 2.0))
        draft.do(SignalProcess(PREFIX + instance.id, signal.SIGKILL))


def stopped(draft: Draft, instance: Instance) -> None:
    if instance.unwanted:
        draft.remove(instance.id)
    else:
        become(draft, instance, Phase.STOPPED)


def startup_limit(draft: Draft, instance: Instance) -> float:
    if instance.desired is not None and instance.desired.spec.timeouts.HasField("startup"):
        return instance.desired.spec.timeouts.startup.ToTimedelta().total_seconds()
    return draft.limits.startup


def _drain_limit(draft: Draft, instance: Instance) -> float:
    if instance.desired is not None and instance.desired.spec.timeouts.HasField("drain"):
        return instance.desired.spec.timeouts.drain.ToTimedelta().total_seconds()
    return draft.limits.drain


def become(
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
