"""`deploy`: the apps and tasks of a file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from callmesh.cli import complete, output
from callmesh.cli.options import Where, as_json, copy_style, where

if TYPE_CHECKING:
    from callmesh.bundle import CopyStyle


@click.command("deploy")
@click.argument("file", type=click.Path())  # a type that shells complete
@click.argument(
    "environments",
    nargs=-1,
    metavar="[ENV]...",
    shell_complete=complete.environments_of_file,
)
@click.option("--version", default="", help="Of the tasks.  [default: made from the content]")
@click.option("--no-wait", is_flag=True, help="Return before the apps are ready.")
@copy_style
@as_json
@where
def deploy_command(
    file: str,
    environments: tuple[str, ...],
    where: Where,
    *,
    version: str,
    no_wait: bool,
    copy_style: CopyStyle,
    as_json: bool,
) -> None:
    """Deploy the apps and tasks of a file, and wait until the apps are ready.

    Every environment of the file, or those variables that are named, and all
    that they depend on. A new revision of an app takes its calls over when it is
    ready; one that cannot start never replaces one that serves.

    \b
    callmesh deploy shop.py
    callmesh deploy shop.py web_env --version v2
    """
    from callmesh._deploying import Options
    from callmesh.cli import deploying, load, mesh

    chosen = load.choose(load.module_of(file), environments)
    connected = mesh.connect(where)
    scope = connected.scope
    options = Options(
        project=scope.project, domain=scope.domain, version=version, copy_style=copy_style
    )
    deployed = deploying.record(chosen, options)
    output.say(f"deployed {deployed.summary}, version {deployed.version}")
    if not no_wait:
        deploying.until_ready(list(deployed.apps.values()))
    if as_json:
        from callmesh.cli import shapes

        output.show_json(
            {
                "version": deployed.version,
                "apps": [shapes.app(each.pb2) for each in deployed.apps.values()],
                "tasks": [shapes.task(each.pb2) for each in deployed.tasks.values()],
            }
        )
        return
    for name, app in deployed.apps.items():
        output.data(f"app   {name}  {app.url}")
    for name in deployed.tasks:
        output.data(f"task  {name}")
