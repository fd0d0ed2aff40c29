"""`logs`: what an app or a run wrote."""

from __future__ import annotations

import click

from callmesh.cli import complete, output, progress
from callmesh.cli.options import Where, where


@click.command("logs")
@click.argument("target", metavar="APP|RUN", shell_complete=complete.log_names)
@click.option("-f", "--follow", is_flag=True, help="Go on with what is written from now on.")
@click.option(
    "-n",
    "--lines",
    type=click.IntRange(1, 100_000),
    default=1000,
    show_default=True,
    help="Of each instance or attempt, at most.",
)
@click.option("--instance", default="", help="Only this instance of the app.")
@where
def logs_command(target: str, where: Where, *, follow: bool, lines: int, instance: str) -> None:
    """Print what an app or a run wrote to its output.

    Where several instances or attempts wrote, each line begins with whose it is.
    `app/NAME` and `run/NAME` tell an app from a run of the same name.
    """
    from callmesh.cli import mesh
    from callmeshpb.v1 import log_pb2

    connected = mesh.connect(where)
    kind, name = mesh.which(connected, target)
    request = log_pb2.TailLogsRequest(follow=follow, tail_lines=lines, instance_id=instance)
    setattr(request, kind, name)
    sources = _sources(connected, kind, name)
    said = progress.Progress(f"logs of {kind} {name}")
    with progress.goes_on(f"{kind} `{name}` goes on"):
        for line in connected.logs(request, said.reconnecting):
            sources.add(line.source)
            output.data(f"{line.source} | {line.text}" if len(sources) > 1 else line.text)


def _sources(connected: object, kind: str, name: str) -> set[str]:
    """Who may have written: known before the first line, so that all lines look alike."""
    from callmesh.cli import mesh

    assert isinstance(connected, mesh.Mesh)
    if kind == "app":
        return {each.id for each in connected.app(name).instances}
    return {f"attempt {each.number}" for each in connected.run(name).attempts}
