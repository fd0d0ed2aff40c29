"""`abort`: end a run."""

from __future__ import annotations

import click

from callmesh.cli import complete, output
from callmesh.cli.options import Where, where


@click.command("abort")
@click.argument("run", shell_complete=complete.run_names)
@click.option("--reason", default="", help="Kept with the run.")
@where
def abort_command(run: str, where: Where, *, reason: str) -> None:
    """End a run and its child runs.

    Code that runs gets SIGTERM, and is killed if it does not end.
    """
    from callmesh.cli import mesh

    mesh.connect(where).abort(run, reason or "by `callmesh abort`")
    output.say(f"run `{run}` is aborted")
