"""The mesh's objects as JSON: the shapes that scripts rely on. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from callmesh.values import load_json
from callmesh_wire.nodes import node_state
from callmeshpb.v1 import common_pb2, scheduler_pb2, secret_pb2

Shape = dict[str, Any]


def app(found: scheduler_pb2.App) -> Shape:
    """An app."""
    return {
        "name": found.spec.name,
        "project": found.spec.project,
        "domain": found.spec.domain,
        "revision": found.revision,
        "state": app_state(found),
        "endpoint": found.endpoint,
        "url": found.url,
        "replicas": {"wanted": wanted_replicas(found), "ready": ready_replicas(found)},
        "instances": [instance(each) for each in found.instances],
        "conditions": [condition(each) for each in found.conditions],
    }


def instance(found: scheduler_pb2.Instance) -> Shape:
    """One instance of an app."""
    status = found.status
    return {
        "id": found.id,
        "node": found.node,
        "address": status.address,
        "port": status.port,
        "pid": status.pid,
        "state": instance_state(found),
        "restarts": status.restarts,
    }


def condition(found: common_pb2.Condition) -> Shape:
    """One condition."""
    return {
        "type": found.type,
        "status": condition_status(found),
        "reason": found.reason,
        "message": found.message,
        "changed_at": moment(found, "changed_at"),
    }


def run(found: scheduler_pb2.Run) -> Shape:
    """A run. ``outputs`` is the returned value, or the list of a tuple's values."""
    return {
        "name": found.name,
        "project": found.project,
        "domain": found.domain,
        "task": found.task,
        "short_name": found.short_name or None,
        "phase": run_phase(found),
        "outputs": outputs(found),
        "error": failure(found.error) if found.HasField("error") else None,
        "attempts": [attempt(each) for each in found.attempts],
        "parent": found.parent or None,
        "cached_from": found.cached_from or None,
        "trace_id": found.trace_id,
        "created_at": moment(found, "created_at"),
        "started_at": moment(found, "started_at"),
        "ended_at": moment(found, "ended_at"),
    }


def attempt(found: scheduler_pb2.Attempt) -> Shape:
    """One attempt of a run."""
    return {
        "number": found.number,
        "node": found.node,
        "worker": found.worker,
        "worker_start": worker_start(found),
        "spawned_because": found.spawned_because,
        "phase": word(scheduler_pb2.AttemptPhase.Name(found.phase), "ATTEMPT_PHASE_"),
        "error": failure(found.error) if found.HasField("error") else None,
        "created_at": moment(found, "created_at"),
        "started_at": moment(found, "started_at"),
        "ended_at": moment(found, "ended_at"),
    }


def worker_start(found: scheduler_pb2.Attempt) -> str:
    """How the attempt's worker came to be: "forked", "spawned"; "" before it started."""
    if not found.HasField("started_at"):
        return ""
    return "spawned" if found.spawned_because else "forked"


def failure(found: common_pb2.Failure) -> Shape:
    """Why a run or an attempt failed."""
    return {"type": found.type, "message": found.message, "traceback": found.traceback}


def outputs(found: scheduler_pb2.Run) -> Any:
    """What a run returned; None before its end, and where it returned None."""
    values = [load_json(each) for each in found.outputs]
    if found.outputs_is_tuple:
        return values
    return values[0] if values else None


def task(found: scheduler_pb2.Task) -> Shape:
    """A deployed task in one version."""
    spec = found.spec
    return {
        "name": spec.name,
        "project": found.environment.project,
        "domain": found.environment.domain,
        "version": found.environment.version,
        "short_name": spec.short_name or None,
        "parameters": [parameter(each) for each in spec.interface.parameters],
        "result": spec.interface.result_type,
        "retries": spec.retries.count,
        "docs": spec.docs.strip(),
        "created_at": moment(found, "created_at"),
    }


def parameter(found: scheduler_pb2.TaskParameter) -> Shape:
    """One parameter of a task."""
    return {
        "name": found.name,
        "type": found.type,
        "required": found.required,
        "default": load_json(found.default_value) if found.HasField("default_value") else None,
    }


def node(found: scheduler_pb2.Node) -> Shape:
    """A node."""
    return {
        "name": found.name,
        "state": node_state(found),
        "address": found.address,
        "zone": found.zone,
        "labels": dict(sorted(found.labels.items())),
        "connected": found.connected,
        "away_since": moment(found, "away_since"),
        "drain": drain(found.drain) if found.HasField("drain") else None,
        "instances": found.instances,
        "attempts": found.attempts,
        "capacity": {
            "cpu": found.capacity.cpu,
            "memory": found.capacity.memory,
            "slots": found.capacity.slots,
            "python_versions": list(found.capacity.python_versions),
        },
        "version": found.version,
        "conditions": [condition(each) for each in found.conditions],
        "storage": [storage(each) for each in found.storage],
        "joined_at": moment(found, "joined_at"),
    }


def drain(found: scheduler_pb2.NodeDrain) -> Shape:
    """How a node is emptied."""
    return {
        "started_at": moment(found, "started_at"),
        "deadline_at": moment(found, "deadline_at"),
        "expired": found.expired,
        "left": [work(each) for each in found.left],
        "ended": [work(each) for each in found.ended],
    }


def work(found: scheduler_pb2.NodeWork) -> Shape:
    """An app's instances, or a run's attempt, on a node."""
    return {
        "project": found.project,
        "domain": found.domain,
        "app": found.app or None,
        "run": found.run or None,
        "instances": found.instances,
        "message": found.message,
    }


def storage(found: common_pb2.StorageUse) -> Shape:
    """What one kind of thing takes of a disk, in bytes; a ``cap`` of 0 is none."""
    return {
        "kind": found.kind,
        "folder": found.folder,
        "bytes": found.bytes,
        "count": found.count,
        "cap": found.cap,
    }


def secret(found: secret_pb2.Secret) -> Shape:
    """A secret, without its value."""
    return {
        "name": found.name,
        "project": found.project,
        "domain": found.domain,
        "created_at": moment(found, "created_at"),
        "updated_at": moment(found, "updated_at"),
    }


def server(found: scheduler_pb2.GetServerResponse, nodes: Sequence[scheduler_pb2.Node]) -> Shape:
    """The control plane and its nodes."""
    return {
        "version": found.version,
        "protocol_version": found.protocol_version,
        "pid": found.pid,
        "state_dir": found.state_dir,
        "ingress_url": found.ingress_url,
        "started_at": moment(found, "started_at"),
        "storage": [storage(each) for each in found.storage],
        "nodes": [node(each) for each in nodes],
    }


def app_state(found: scheduler_pb2.App) -> str:
    """An app's state in one word."""
    return word(scheduler_pb2.AppState.Name(found.state), "APP_STATE_")


def instance_state(found: scheduler_pb2.Instance) -> str:
    """An instance's state in one word."""
    return word(scheduler_pb2.InstanceState.Name(found.status.state), "INSTANCE_STATE_")


def run_phase(found: scheduler_pb2.Run) -> str:
    """A run's phase in one word."""
    return word(scheduler_pb2.RunPhase.Name(found.phase), "RUN_PHASE_")


def condition_status(found: common_pb2.Condition) -> str:
    """A condition's status in one word."""
    return word(common_pb2.ConditionStatus.Name(found.status), "CONDITION_STATUS_")


def wanted_replicas(found: scheduler_pb2.App) -> int:
    """How many instances shall serve."""
    inactive = found.desired_state == scheduler_pb2.DESIRED_STATE_INACTIVE
    return 0 if inactive or found.deleting else max(1, found.spec.min_replicas)


def ready_replicas(found: scheduler_pb2.App) -> int:
    """How many of the wanted instances take calls; not those that are being replaced."""
    serving = found.serving_revision or found.revision
    return sum(
        each.status.state == scheduler_pb2.INSTANCE_STATE_READY
        and each.intent == scheduler_pb2.INSTANCE_INTENT_RUN
        and each.revision in (0, serving)
        for each in found.instances
    )


def moment(message: Any, field: str) -> str | None:
    """A time as RFC 3339 in UTC, None where it is not set."""
    if not message.HasField(field):
        return None
    value: Timestamp = getattr(message, field)
    return value.ToJsonString()


def word(name: str, prefix: str) -> str:
    """``RUN_PHASE_TIMED_OUT`` → ``timed_out``."""
    text = name.removeprefix(prefix).lower()
    return "unknown" if text == "unspecified" else text
