"""`run --local`: a task in this process, with the terminal as its own."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from callmesh import _runtime, local, settings
from callmesh._failure import user_traceback
from callmesh._sync import bridge
from callmesh.cli import deploying, output, serving_here, shapes
from callmesh.cli.run import RunOptions
from callmesh.errors import TaskFailedError

if TYPE_CHECKING:
    from callmesh.task import Task


def run(task: Task[..., Any], arguments: Mapping[str, Any], options: RunOptions) -> int:
    """Run it and print what it returns. The exit code."""
    if options.detach:
        output.stop("a task that runs in this process cannot be detached", code=output.USAGE)
    settings.use(settings.Settings(root_dir=settings.current().root_dir))
    deploying.say_notices()
    made = local.LocalRun(task, options.name)
    with _runtime.added_variables(options.env_vars), _served(task, no_deps=options.no_deps):
        output.say(f"run {made.name}, in this process")
        try:
            with _output_kept_clean():
                local.execute(made, task, (), arguments)
        except TaskFailedError as failed:
            if not options.as_json:
                _tell(made, failed)
    if options.as_json:
        output.show_json(shapes.run(made.pb2))
    elif made.phase == "succeeded":
        output.data(json.dumps(shapes.outputs(made.pb2), ensure_ascii=False))
    return output.DONE if made.phase == "succeeded" else output.FAILED


def _tell(made: local.LocalRun, failed: TaskFailedError) -> None:
    cause = failed.__cause__
    assert cause is not None
    text = f"{type(cause).__name__}: {made.message}" if made.message else type(cause).__name__
    output.error(f"run `{made.name}` failed: {text}\n\n{user_traceback(cause).rstrip()}")


@contextlib.contextmanager
def _served(task: Task[..., Any], *, no_deps: bool) -> Iterator[None]:
    """The apps that the task depends on take calls inside the block."""
    from callmesh import _local_serving
    from callmesh._local_apps import APPS

    try:
        if not no_deps and task.environment.depends_on:
            with serving_here.starting("the apps that the task depends on"):
                bring_up = _local_serving.bring_up([task.environment], _local_serving.Serving())
                apps = bridge().run(bring_up)
            for app in apps:
                output.say(f"app {app.name}: serves at {app.url} for this run")
        yield
    finally:
        APPS.end()


@contextlib.contextmanager
def _output_kept_clean() -> Iterator[None]:
    """What the task prints goes to stderr where stdout is read by a program."""
    if sys.stdout.isatty():
        yield
        return
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)
