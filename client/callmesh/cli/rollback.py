"""`rollback`: go back to what an app was."""

from __future__ import annotations

import click

from callmesh.cli import output, progress
from callmesh.cli.options import Where, where


@click.command("rollback")
@click.argument("app")
@click.option(
    "--to",
    "revision",
    type=click.IntRange(1),
    default=None,
    help="Default: the newest before this one that was ready.",
)
@where
def rollback_command(app: str, where: Where, *, revision: int | None) -> None:
    """Go back to an app's revision before, and wait until it serves.

    It becomes a new revision; calls go on meanwhile.
    """
    from callmesh.cli import mesh, waiting

    connected = mesh.connect(where)
    changed = connected.roll_back(app, revision or 0)
    with (
        progress.goes_on(f"app `{app}` goes back nevertheless"),
        progress.Progress(f"waiting for {app}") as shown,
    ):
        waiting.until_ready(connected, {app: changed.revision}, shown)
    output.say(f"app `{app}` serves revision {changed.revision}")
