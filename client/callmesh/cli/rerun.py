"""`rerun`: a run once more."""

from __future__ import annotations

import click

from callmesh.cli.options import Where, as_json, pairs, where
from callmesh.cli.run import RunOptions


@click.command("rerun")
@click.argument("run")
@click.option("--name", default="", help="Of the new run.  [default: made up]")
@click.option("-e", "--env", "env_vars", multiple=True, metavar="K=V", help="Repeatable.")
@click.option("--detach", is_flag=True, help="Print the new run's name and return.")
@as_json
@where
def rerun_command(
    run: str,
    where: Where,
    *,
    name: str,
    env_vars: tuple[str, ...],
    detach: bool,
    as_json: bool,
) -> int:
    """Run a task again as in an earlier RUN: its inputs, its version.

    It executes even where a result of equal inputs is kept.
    """
    from callmesh.cli import running

    options = RunOptions(
        where=where,
        name=name,
        version="",
        env_vars=pairs(env_vars, "--env"),
        no_deps=False,
        detach=detach,
        as_json=as_json,
    )
    return running.again(run, options)
