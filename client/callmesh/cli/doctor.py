"""`doctor`: what is wrong with this machine or this mesh."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from callmesh.cli.options import Where, as_json, where


@click.command("doctor")
@click.option(
    "--state-dir",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="Of the mesh to look at.  [default: as for `callmesh up`]",
)
@as_json
@where
def doctor_command(where: Where, *, state_dir: Path | None, as_json: bool) -> None:
    """Say what is wrong with this machine or this mesh, and what to do about it.

    One line for each thing that was looked at: `ok`, `note`, `warning` (a mesh
    works, something beside it may not) or `problem`. Nothing is changed. The
    exit code is 1 where there is a problem.
    """
    arguments = ["doctor"]
    if as_json:
        arguments.append("--json")
    if state_dir is not None:
        folder = state_dir.expanduser().absolute()
        arguments.append(f"--state-dir={folder}")
        os.environ["CALLMESH_STATE_DIR"] = str(folder)
    if where.endpoint:
        os.environ["CALLMESH_ENDPOINT"] = where.endpoint
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", "callmesh_up", *arguments])
