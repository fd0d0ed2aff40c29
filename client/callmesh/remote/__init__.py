"""What is deployed and what ran: tasks, runs and apps of the mesh."""

from callmesh.remote.app import App
from callmesh.remote.phase import ActionPhase
from callmesh.remote.run import Action, ActionDetails, ActionOutputs, Run, RunDetails
from callmesh.remote.task import LazyEntity, Task, TaskDetails

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
]
