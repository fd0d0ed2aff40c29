"""What is deployed and what ran: tasks, runs and apps of the mesh."""

from callmesh._flyte_only import refuse
from callmesh._passthrough import auth_metadata
from callmesh.remote._filters import TimeFilter
from callmesh.remote.app import App
from callmesh.remote.details import Action, ActionDetails, RunDetails
from callmesh.remote.outputs import ActionOutputs
from callmesh.remote.phase import ActionPhase
from callmesh.remote.run import Run
from callmesh.remote.task import LazyEntity, Task, TaskDetails
from callmesh.remote.user import User


def __getattr__(name: str) -> object:
    refuse(__name__, name)
    raise AttributeError(f"module `{__name__}` has no attribute `{name}`")


__all__ = [
    "Action",
    "ActionDetails",
    "ActionOutputs",
    "ActionPhase",
    "App",
    "LazyEntity",
    "Run",
    "RunDetails",
    "Task",
    "TaskDetails",
    "TimeFilter",
    "User",
    "auth_metadata",
]
