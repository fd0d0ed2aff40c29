"""From environments to apps that serve: what `deploy`, `serve` and `run` share."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NoReturn

from callmesh import _notices
from callmesh._deploying import Options
from callmesh._sync import bridge
from callmesh.cli import output, progress, spans
from callmesh.deploy import (
    DeployedAppEnvironment,
    Deployment,
    Progress,
    deploy_with,
    wait_for_apps,
)
from callmesh.errors import DeploymentError
from callmesh_wire import errors

if TYPE_CHECKING:
    from callmesh.environment import Environment
    from callmesh.remote.app import App
    from callmesh.remote.task import Task


class Deployed:
    """What one deploy recorded: each app and task once, in the order of dependencies."""

    def __init__(self, deployments: Sequence[Deployment]) -> None:
        self.version = deployments[0].version
        self.apps: dict[str, App] = {}
        self.tasks: dict[str, Task] = {}
        for deployment in deployments:
            for each in deployment.envs.values():
                if isinstance(each, DeployedAppEnvironment):
                    self.apps.setdefault(each.name, each.deployed_app)
                else:
                    self.tasks.update({task.name: task for task in each.deployed_entities})

    @property
    def summary(self) -> str:
        """``2 apps and 1 task``."""
        counts = [
            f"{len(found)} {word}{'' if len(found) == 1 else 's'}"
            for found, word in ((self.apps, "app"), (self.tasks, "task"))
            if found
        ]
        return " and ".join(counts) or "nothing"


def record(environments: Sequence[Environment], options: Options) -> Deployed:
    """Record environments in the mesh. A wrong definition ends the command with 2."""
    say_notices()
    with progress.Progress("deploying"), definitions():
        return Deployed(bridge().run(deploy_with(environments, options)))


@contextlib.contextmanager
def definitions() -> Iterator[None]:
    """Inside it what is wrong with a definition ends the command with 2."""
    try:
        yield
    except DeploymentError as problem:
        cause = problem.__cause__
        refused = isinstance(cause, errors.CallmeshError)
        wrong = not refused or isinstance(cause, errors.InvalidArgumentError)
        output.stop(str(problem), code=output.USAGE if wrong else output.FAILED)
    except (ValueError, TypeError) as problem:
        output.stop(str(problem), code=output.USAGE)


def until_ready(apps: Sequence[App]) -> None:
    """Wait until apps take calls, saying what happens. Ends the command when one cannot."""
    if not apps:
        return
    names = ", ".join(f"`{each.name}`" for each in apps)
    goes_on = f"the deploy of {names} goes on; `callmesh get apps` shows it"
    began = time.monotonic()
    with progress.goes_on(goes_on), progress.Progress(f"waiting for {names}") as shown:
        try:
            bridge().run(wait_for_apps(apps, None, Teller(shown)))
        except DeploymentError as problem:
            _stop(problem, next((each for each in apps if each.state == "failed"), None))
    verb = "is" if len(apps) == 1 else "are"
    output.say(f"{names} {verb} ready ({spans.span(time.monotonic() - began)})")


class Teller:
    """Says each change of an app's state in one line."""

    def __init__(self, shown: progress.Progress) -> None:
        self._shown = shown
        self._states: dict[str, str] = {}

    def __call__(self, event: Progress) -> None:
        """Called on the bridge's loop."""
        if not event.app:
            self._shown.reconnecting()
            return
        known = self._states.get(event.app)
        self._states[event.app] = event.state
        if event.state in ("ready", "failed") or (event.state == known and not event.message):
            return
        text = f"app {event.app}: {event.state}"
        self._shown.line(f"{text} - {event.message}" if event.message else text)


def _stop(problem: DeploymentError, failed: App | None) -> NoReturn:
    if failed is None:
        output.stop(str(problem), hint="`callmesh get apps` shows how they are")
    from callmesh.cli import stories

    lines = [str(problem).splitlines()[0], *stories.last_words(failed.pb2)]
    if failed.pb2.serving_revision:
        # The failed instances are gone, and their logs with them.
        hint = f"revision {failed.pb2.serving_revision} goes on serving; "
        hint += f"`callmesh describe app {failed.name}` tells of both"
    else:
        hint = f"`callmesh logs app/{failed.name}` shows what it wrote, "
        hint += f"`callmesh describe app {failed.name}` the rest"
    output.stop("\n".join(lines), hint=hint)


def say_notices() -> None:
    """Have the SDK's notices said on stderr."""
    _notices.say_to(_say_wrapped)


def tell(notices: Iterable[str]) -> None:
    """Say notices, each once."""
    _notices.say(notices)


def _say_wrapped(line: str) -> None:
    for part in output.wrapped(line):
        output.say(part)
