"""`dev`: deploy a file at every save, and follow what its apps write."""

from __future__ import annotations

import importlib.util
import time
from pathlib import Path

import click

from callmesh.cli import complete, output
from callmesh.cli.options import Where, where


@click.command("dev")
@click.argument("file", type=click.Path())  # a type that shells complete
@click.argument(
    "environments",
    nargs=-1,
    metavar="[ENV]...",
    shell_complete=complete.environments_of_file,
)
@click.option("--no-logs", is_flag=True, help="Do not print what the apps write.")
@where
def dev_command(file: str, environments: tuple[str, ...], where: Where, *, no_logs: bool) -> int:
    """Deploy a file to the mesh now and at every save, until Ctrl-C.

    Watched is what a deploy bundles: the file, the modules of yours that it
    imports, and `include`. A mistake is shown here and the revision before goes
    on serving; calls that run are not cut. What the apps write follows. The mesh
    must run: `callmesh up` starts one.
    """
    from callmesh.cli import mesh
    from callmesh.cli.dev_logs import Followers
    from callmesh.cli.dev_loop import Loop

    if importlib.util.find_spec("watchfiles") is None:
        output.stop(
            "`callmesh dev` needs the package `watchfiles`",
            hint="pip install 'callmesh[dev]'",
            code=output.USAGE,
        )
    if not Path(file).is_file():
        output.stop(f"`{file}` does not exist", code=output.USAGE)
    connected = mesh.connect(where)
    connected.server()
    words = [file, *environments]
    for option in ("project", "domain", "endpoint"):
        if value := getattr(where, option):
            words.append(f"--{option}={value}")
    followers = None if no_logs else Followers(connected, time.time())
    loop = Loop(Path(file).resolve(), words, followers)
    try:
        loop.run()
    except KeyboardInterrupt:
        output.say()
    finally:
        loop.end()
    output.say("what is deployed goes on; `callmesh get apps` shows it")
    return output.DONE
