"""`serve`: one app of a file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from callmesh.cli import complete, output
from callmesh.cli.options import Where, copy_style, where

if TYPE_CHECKING:
    from callmesh.bundle import CopyStyle


@click.command("serve")
@click.argument("file", type=click.Path())  # a type that shells complete
@click.argument("app", shell_complete=complete.apps_of_file)
@click.option("--version", default="", help="A label.  [default: made from the content]")
@click.option("-e", "--env", "env_vars", multiple=True, metavar="K=V", help="Repeatable.")
@click.option("--follow", "-f", is_flag=True, help="Print its log until Ctrl-C.")
@click.option("--local", is_flag=True, help="Serve it from here until Ctrl-C, without a mesh.")
@copy_style
@where
def serve_command(
    file: str,
    app: str,
    where: Where,
    *,
    version: str,
    env_vars: tuple[str, ...],
    follow: bool,
    local: bool,
    copy_style: CopyStyle,
) -> int:
    """Deploy one app of a file, and the apps that it depends on; print its address.

    APP is its variable in the file, or its name. With --local it is a process of
    this terminal, where `breakpoint()` stops it: on its declared port, or on a
    free one where that is taken.
    """
    from callmesh._deploying import Options
    from callmesh.app.environment import AppEnvironment
    from callmesh.cli import deploying, load, mesh
    from callmesh.cli.options import pairs

    (chosen,) = load.choose(load.module_of(file), [app])
    if not isinstance(chosen, AppEnvironment):
        output.stop(
            f"`{app}` is an environment of tasks, not an app",
            hint=f"`callmesh run {file} TASK` runs one of its tasks",
            code=output.USAGE,
        )
    if local:
        from callmesh.cli import serving_here

        return serving_here.serve(chosen, pairs(env_vars, "--env"))
    connected = mesh.connect(where)
    options = Options(
        project=connected.scope.project,
        domain=connected.scope.domain,
        version=version,
        copy_style=copy_style,
        env_vars=pairs(env_vars, "--env"),
    )
    deployed = deploying.record([chosen], options)
    deploying.until_ready(list(deployed.apps.values()))
    output.data(deployed.apps[chosen.name].url)
    if follow:
        _follow(connected, chosen.name)
    return output.DONE


def _follow(connected: object, name: str) -> None:
    from callmesh.cli import mesh, progress
    from callmeshpb.v1 import log_pb2

    assert isinstance(connected, mesh.Mesh)
    with progress.goes_on(f"app `{name}` goes on; `callmesh delete app {name}` ends it"):
        for line in connected.logs(log_pb2.TailLogsRequest(app=name, follow=True)):
            output.data(line.text)
