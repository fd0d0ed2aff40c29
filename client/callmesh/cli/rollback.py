"""`rollback`: go back to what an app was."""

from __future__ import annotations

import click

from callmesh.cli import complete, output
from callmesh.cli.options import Where, where


@click.command("rollback")
@click.argument("app", shell_complete=complete.app_names)
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
    from callmesh.cli import deploying, mesh
    from callmesh.remote.app import App

    changed = mesh.connect(where).roll_back(app, revision or 0)
    output.say(f"app `{app}` goes back, as revision {changed.revision}")
    deploying.until_ready([App(changed)])
