"""What nodes are sent: an attempt's order and a node's desired set, with secrets.

Core decides what runs where; the values that a process needs for it are put in
here, on the way out, and are nowhere else.
"""

from __future__ import annotations

from callmesh_server.core.view import desired_set
from callmesh_server.core.world import World, task_key
from callmesh_server.store.secrets import Secrets, SecretValues
from callmeshpb.v1 import common_pb2, node_pb2, scheduler_pb2


def missing_secrets(
    secrets: Secrets, task: scheduler_pb2.Task
) -> tuple[str, ...]:
    """Which of the task's secrets do not exist."""
    return _of_task(secrets, task).missing


def attempt_order(
    run: scheduler_pb2.Run,
    number: int,
    task: scheduler_pb2.Task,
    inputs: scheduler_pb2.Run | None,
    secrets: Secrets,
) -> node_pb2.AttemptOrder:
    """The order of attempt ``number`` of a run."""
    values = _of_task(secrets, task)
    order = node_pb2.AttemptOrder(
        run=run.name,
        number=number,
        fence=run.attempts[number - 1].fence,
        task=task,
        project=run.project,
        domain=run.domain,
        idempotency_key=run.idempotency_key,
        parent=run.parent,
        group=run.group,
        traceparent=run.traceparent,
        custom_context=run.custom_context,
        env_vars=run.env_vars,
        secret_env=values.env,
        secret_files=values.files,
    )
    if inputs is not None:
        for name, value in inputs.inputs.items():
            order.inputs[name].CopyFrom(value)
    return order


def with_secrets(desired: node_pb2.DesiredSet, secrets: Secrets) -> node_pb2.DesiredSet:
    """The same set, changed in place: every instance with its secrets."""
    for item in desired.instances:
        spec = item.spec
        if spec.secrets:
            values = secrets.values(spec.project, spec.domain, spec.secrets)
            item.secret_env.update(values.env)
            for path, content in values.files.items():
                item.secret_files[path] = content
    return desired


def _of_task(secrets: Secrets, task: scheduler_pb2.Task) -> SecretValues:
    environment = task.environment
    return secrets.values(environment.project, environment.domain, environment.secrets)
