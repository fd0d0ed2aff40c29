"""What a task's run needs from a node."""

from __future__ import annotations

from callmesh_server.core.world import Demand
from callmesh_wire.names import AppName
from callmeshpb.v1.scheduler_pb2 import Task


def demand_of(task: Task) -> Demand:
    """The demand of a run of ``task`` that has no parent.

    A task's resources replace its environment's.
    """
    environment = task.environment
    own, shared = task.spec.resources, environment.resources
    return Demand(
        memory=own.memory or shared.memory,
        cpu=own.cpu or shared.cpu,
        gpu=own.gpu or shared.gpu,
        python_version=environment.image.lock_python or environment.image.python_version,
        depends_on=tuple(
            AppName(environment.project, environment.domain, each)
            for each in environment.depends_on
        ),
    )
