"""What nodes are told of attempts: what core decided, with the values they need.

Secrets are put in here, on the way out, and are kept nowhere else.
"""

from __future__ import annotations

from callmesh_server.store.secrets import SecretValues
from callmeshpb.v1 import common_pb2, node_pb2, scheduler_pb2


def attempt_order(
    run: scheduler_pb2.Run,
    number: int,
    task: scheduler_pb2.Task,
    inputs: scheduler_pb2.Run | None,
    secrets: SecretValues,
) -> node_pb2.AttemptOrder:
    """The order of attempt ``number`` of a run."""
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
        secret_env=secrets.env,
        secret_files=secrets.files,
    )
    if inputs is not None:
        for name, value in inputs.inputs.items():
            order.inputs[name].CopyFrom(value)
    return order


def without_secrets(
    run: scheduler_pb2.Run, number: int, missing: tuple[str, ...]
) -> node_pb2.AttemptReport:
    """The end of an attempt that cannot start, as its node would have reported it."""
    names = ", ".join(f"`{name}`" for name in missing)
    return node_pb2.AttemptReport(
        run=run.name,
        number=number,
        fence=run.attempts[number - 1].fence,
        phase=scheduler_pb2.ATTEMPT_PHASE_FAILED,
        error=common_pb2.Failure(
            type="SecretMissing",
            message=(
                f"task `{run.task}` needs {names}, which {run.project}/{run.domain} does not "
                "have: make it with `callmesh create secret`, and run it again"
            ),
            kind=common_pb2.FAILURE_KIND_USER,
            non_recoverable=True,
        ),
    )


def go(run: str, fence: common_pb2.Fence) -> node_pb2.ServerMessage:
    """User code may start."""
    return node_pb2.ServerMessage(go=node_pb2.AttemptGo(run=run, fence=fence))


def ack(run: str, fence: common_pb2.Fence) -> node_pb2.ServerMessage:
    """The node may forget the attempt."""
    return node_pb2.ServerMessage(ack=node_pb2.AttemptAck(run=run, fence=fence))


def stop(run: str, fence: common_pb2.Fence, reason: str, grace: float) -> node_pb2.ServerMessage:
    """User code shall end; ``grace`` in seconds."""
    order = node_pb2.AttemptStop(run=run, fence=fence, reason=reason)
    order.grace.FromNanoseconds(int(grace * 1e9))
    return node_pb2.ServerMessage(stop=order)
