"""What others are told about this node: rotation, instance status."""

from __future__ import annotations

import math
import signal
from collections.abc import Mapping

from google.protobuf.timestamp_pb2 import Timestamp

from callmesh_agent.core.instructions import LocalEndpoint
from callmesh_agent.core.state import Instance, Phase
from callmeshpb.v1 import common_pb2, node_pb2, scheduler_pb2, supervisor_pb2

_STATES: dict[Phase, scheduler_pb2.InstanceState] = {
    Phase.PENDING: scheduler_pb2.INSTANCE_STATE_PENDING,
    Phase.PREPARING: scheduler_pb2.INSTANCE_STATE_PREPARING,
    Phase.STARTING: scheduler_pb2.INSTANCE_STATE_STARTING,
    Phase.PROBING: scheduler_pb2.INSTANCE_STATE_STARTING,
    Phase.READY: scheduler_pb2.INSTANCE_STATE_READY,
    Phase.UNHEALTHY: scheduler_pb2.INSTANCE_STATE_UNHEALTHY,
    Phase.BACKOFF: scheduler_pb2.INSTANCE_STATE_BACKOFF,
    Phase.YIELDING: scheduler_pb2.INSTANCE_STATE_DRAINING,
    Phase.LEAVING: scheduler_pb2.INSTANCE_STATE_DRAINING,
    Phase.EMPTYING: scheduler_pb2.INSTANCE_STATE_DRAINING,
    Phase.TERMINATING: scheduler_pb2.INSTANCE_STATE_DRAINING,
    Phase.STOPPED: scheduler_pb2.INSTANCE_STATE_STOPPED,
}


def timestamp(seconds: float) -> Timestamp:
    """Epoch seconds as a message."""
    whole = math.floor(seconds)
    return Timestamp(seconds=whole, nanos=int((seconds - whole) * 1e9))


def rotation(instances: Mapping[str, Instance]) -> dict[str, LocalEndpoint]:
    """This node's instances that have an address, by id."""
    return {
        each.id: _endpoint(each, each.process.labels)
        for each in instances.values()
        if each.process is not None and each.port
    }


def _endpoint(instance: Instance, labels: Mapping[str, str]) -> LocalEndpoint:
    return LocalEndpoint(
        instance.address,
        instance.port,
        ready=instance.phase is Phase.READY,
        inbound_port=inbound_port(labels),
        mesh_name=labels.get("mesh_name", ""),
        speaks_grpc=labels.get("protocol") == "grpc",
        open=instance.phase in (Phase.READY, Phase.YIELDING),
    )


def inbound_port(labels: Mapping[str, str]) -> int:
    """Where other nodes call a process, by its labels; 0: they cannot."""
    return int(labels.get("inbound", "0"))


def status(instance: Instance) -> scheduler_pb2.InstanceStatus:
    """An instance as the server and the user see it."""
    state = _STATES[instance.phase]
    if instance.phase is Phase.TERMINATING and instance.failing:
        state = scheduler_pb2.INSTANCE_STATE_STARTING
    prepared = instance.prepared_at
    return scheduler_pb2.InstanceStatus(
        state=state,
        address=instance.address,
        port=instance.port,
        pid=instance.process.pid if instance.process is not None else 0,
        restarts=instance.restarts,
        message=instance.message,
        last_exit=instance.last_exit,
        log_tail=instance.log_tail,
        changed_at=timestamp(instance.since),
        consecutive_failures=instance.failures,
        exposed=instance.exposed,
        prepared_at=timestamp(prepared) if prepared is not None else None,
        inbound_port=inbound_port(instance.process.labels) if instance.process is not None else 0,
    )


def fence(instance: Instance) -> common_pb2.Fence:
    """Of the decision that placed it; of an adopted one, as its process was labelled."""
    if instance.desired is not None:
        return instance.desired.instance.fence
    labels = instance.process.labels if instance.process is not None else {}
    epoch, _, counter = labels.get("fence", "0.0").partition(".")
    return common_pb2.Fence(epoch=int(epoch), counter=int(counter))


def instance_report(instance: Instance) -> node_pb2.InstanceReport:
    """The whole truth about one instance."""
    return node_pb2.InstanceReport(
        id=instance.id,
        status=status(instance),
        fence=fence(instance),
        gone=instance.phase is Phase.STOPPED,
    )


def change_of_instance(
    before: Instance | None, after: Instance | None
) -> node_pb2.InstanceReport | None:
    """What the server has to hear, or None. An instance that was removed is gone."""
    if after is None:
        if before is None or before.phase is Phase.STOPPED:
            return None
        gone = instance_report(before)
        gone.gone = True
        gone.status.state = scheduler_pb2.INSTANCE_STATE_STOPPED
        return gone
    report = instance_report(after)
    return None if before is not None and instance_report(before) == report else report


def is_news(before: node_pb2.AttemptReport | None, after: node_pb2.AttemptReport) -> bool:
    """Whether the server has to hear it: that an order came is none."""
    if before is None:
        return after.phase != scheduler_pb2.ATTEMPT_PHASE_DISPATCHED or bool(after.message)
    return before is not after


def describe_end(process: supervisor_pb2.Process) -> str:
    """ "exit code 1", "signal 9 (SIGKILL), killed for memory at a peak of 2048 MiB"."""
    text = describe_exit(process.exit_status if process.HasField("exit_status") else None)
    if process.out_of_memory:
        text += f", killed for memory at a peak of {process.peak_memory >> 20} MiB"
    return text


def describe_exit(process_status: int | None) -> str:
    """ "exit code 1", "signal 9 (SIGKILL)"."""
    if process_status is None:
        return "unknown exit status"
    if process_status >= 0:
        return f"exit code {process_status}"
    try:
        name = signal.Signals(-process_status).name
    except ValueError:
        return f"signal {-process_status}"
    return f"signal {-process_status} ({name})"
