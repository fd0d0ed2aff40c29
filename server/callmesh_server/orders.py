"""An attempt's order: what core decided, and the values that its process needs.

Secrets are put in here, on the way out, and are kept nowhere else.
"""

from __future__ import annotations

from callmeshpb.v1 import common_pb2, node_pb2, scheduler_pb2

from callmesh_server.store.secrets import SecretValues


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
