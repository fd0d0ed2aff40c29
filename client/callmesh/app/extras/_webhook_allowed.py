"""Which tasks a webhook may reach, however a request or the allow list spells their names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from callmesh.app.extras._webhook_runs import Runs
from callmesh.app.extras.webhook import names_in
from callmesh.errors import InvalidArgumentError, RemoteTaskNotFoundError

if TYPE_CHECKING:
    from callmesh.app.extras.webhook import FlyteWebhookAppEnvironment
    from callmesh.remote import TaskDetails
    from callmesh.task import Task


async def find(
    env: FlyteWebhookAppEnvironment, domain: str, project: str, name: str, version: str | None
) -> Task[..., Any] | TaskDetails | None:
    """The task that a request means; None where it is not allowed.

    Raises what `Runs.task` raises for one that could be: what is not on the
    list is not told from what does not exist.
    """
    try:
        task = await Runs.task(name, project, domain, version)
    except (RemoteTaskNotFoundError, InvalidArgumentError):
        if env.allows_task(domain, project, name):
            raise
        return None
    return task if await is_allowed(env, domain, project, task.name) else None


async def is_allowed(
    env: FlyteWebhookAppEnvironment, domain: str, project: str, full_name: str
) -> bool:
    """The task is on the list by its full name, or by one that means it alone."""
    if env.allows_task(domain, project, full_name):
        return True
    for name in names_in(env.task_allowlist or (), domain, project):
        try:
            listed = await Runs.task(name, project, domain)
        except (RemoteTaskNotFoundError, InvalidArgumentError):
            continue
        if listed.name == full_name:
            return True
    return False
