"""`describe`: all about one object."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from callmesh.cli import complete, output
from callmesh.cli.options import Where, as_json, where

if TYPE_CHECKING:
    from callmesh.cli import mesh
    from callmeshpb.v1 import scheduler_pb2

LAST_RUNS = 20
_KINDS = ("app", "run", "task", "node")


@click.command("describe")
@click.argument("kind", metavar="[app|run|task|node]", shell_complete=complete.kinds)
@click.argument("name", required=False, shell_complete=complete.described)
@click.option("--version", default="", help="Of a task.  [default: the newest]")
@as_json
@where
def describe_command(
    kind: str, name: str | None, where: Where, *, version: str, as_json: bool
) -> None:
    """Tell all about an app, run, task or node.

    How it does and why, what it waits for, and what it last said. The kind may
    be left out, or written before the name: `describe app/web`.
    """
    from callmesh.cli import mesh, node_stories, shapes, stories

    connected = mesh.connect(where)
    kind, name = _target(connected, kind, name)
    now = time.time()
    match kind:
        case "app":
            app = connected.app(name)
            shape, lines = shapes.app(app), stories.app(app, now)
        case "run":
            run = connected.run(name)
            shape = shapes.run(run)
            lines = [] if as_json else stories.run(run, connected.runs(parent=name), now)
        case "task":
            task = connected.task(name, version)
            shape = shapes.task(task)
            lines = [] if as_json else stories.task(task, _last_runs(connected, task), now)
        case _:
            node = connected.node(name)
            shape, lines = shapes.node(node), node_stories.node(node, now)
    if as_json:
        output.show_json(shape)
        return
    for line in lines:
        output.data(line)


def _last_runs(connected: mesh.Mesh, task: scheduler_pb2.Task) -> list[scheduler_pb2.Run]:
    """A task's last runs of the same version, newest first."""
    runs = connected.runs(task=task.spec.name, limit=LAST_RUNS)
    return [each for each in runs if each.task_version == task.environment.version]


def _target(connected: object, kind: str, name: str | None) -> tuple[str, str]:
    from callmesh.cli import mesh

    assert isinstance(connected, mesh.Mesh)
    if name is None and "/" in kind:
        kind, _, name = kind.partition("/")
    if name is None:
        return mesh.which(connected, kind, ("app", "run", "task"))
    kind = kind.removesuffix("s")
    if kind not in _KINDS:
        output.stop(
            f"`{kind}` cannot be described: must be one of {', '.join(_KINDS)}",
            code=output.USAGE,
        )
    return kind, name
