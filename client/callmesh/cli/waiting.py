"""Waiting for apps to serve: what is said meanwhile, and how it ends."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import cast

from callmesh_wire import errors
from callmeshpb.v1 import common_pb2, scheduler_pb2

from callmesh._sync import bridge
from callmesh.cli import mesh, output, shapes, stories
from callmesh.cli.progress import Progress

_ORDER = ("DependenciesReady", "Ready", "Progressing")
_Event = tuple[str, "scheduler_pb2.WatchAppResponse | errors.CallmeshError"]


def until_ready(
    connected: mesh.Mesh, revisions: Mapping[str, int], progress: Progress
) -> dict[str, scheduler_pb2.App]:
    """Wait until each app serves the given revision; the apps then.

    Ends the command when one of them cannot.
    """
    ready: dict[str, scheduler_pb2.App] = {}
    said: dict[str, str] = {}
    events: queue.SimpleQueue[_Event] = queue.SimpleQueue()
    watch = asyncio.run_coroutine_threadsafe(
        _watch_all(connected, list(revisions), events.put, progress.reconnecting), bridge().loop
    )
    try:
        while len(ready) < len(revisions):
            name, event = events.get()
            if isinstance(event, errors.CallmeshError):
                raise event
            if event.deleted:
                output.stop(f"app `{name}` was deleted while it was waited for")
            app = event.app
            _tell(progress, said, app)
            if serves(app, revisions[name]):
                ready[name] = app
            elif has_failed(app, revisions[name]):
                _stop_failed(app)
            missing = [each for each in revisions if each not in ready]
            progress.waiting_for(f"waiting for {', '.join(missing)}")
    finally:
        watch.cancel()
    return ready


def serves(app: scheduler_pb2.App, revision: int) -> bool:
    """Whether this revision, or a later one, takes calls; or is not wanted to."""
    if app.desired_state == scheduler_pb2.DESIRED_STATE_INACTIVE:
        return True
    return app.serving_revision >= revision and app.state == scheduler_pb2.APP_STATE_READY


def has_failed(app: scheduler_pb2.App, revision: int) -> bool:
    """Whether this revision could not start."""
    return app.revision == revision and app.state == scheduler_pb2.APP_STATE_FAILED


def why(app: scheduler_pb2.App) -> str:
    """What an app waits for, or what went wrong: the first condition that is not true."""
    known = {each.type: each for each in app.conditions}
    for kind in _ORDER:
        condition = known.get(kind)
        if (
            condition is not None
            and condition.status != common_pb2.CONDITION_STATUS_TRUE
            and condition.message
        ):
            return condition.message
    return ""


def _tell(progress: Progress, said: dict[str, str], app: scheduler_pb2.App) -> None:
    state = shapes.app_state(app)
    text = f"app {app.spec.name}: {state}"
    if app.state != scheduler_pb2.APP_STATE_READY and (reason := why(app)):
        text += f" - {reason}"
    if said.get(app.spec.name) != text:
        said[app.spec.name] = text
        for line in output.wrapped(text):
            progress.line(line)


def _stop_failed(app: scheduler_pb2.App) -> None:
    name = app.spec.name
    message = f"app `{name}` could not start: {why(app) or 'its instances failed'}"
    if 0 < app.serving_revision < app.revision:
        message += f"\nrevision {app.serving_revision} goes on serving"
    words = stories.last_words(app)
    output.stop(
        "\n".join([message, *words]),
        hint=f"`callmesh logs app/{name}` shows all that it wrote",
    )


async def _watch_all(
    connected: mesh.Mesh,
    names: list[str],
    tell: Callable[[_Event], None],
    on_lost: Callable[[], None],
) -> None:
    async with asyncio.TaskGroup() as group:
        for name in names:
            group.create_task(_watch(connected, name, tell, on_lost))


async def _watch(
    connected: mesh.Mesh,
    name: str,
    tell: Callable[[_Event], None],
    on_lost: Callable[[], None],
) -> None:
    request = scheduler_pb2.WatchAppRequest(scope=connected.scope, name=name)
    stream = cast(
        "AsyncGenerator[scheduler_pb2.WatchAppResponse, None]",
        mesh.watching("SchedulerService/WatchApp", request, on_lost),
    )
    try:
        async for answer in stream:
            tell((name, answer))
    except errors.CallmeshError as problem:
        tell((name, problem))
    finally:
        await stream.aclose()
