"""`up` and `down`: a mesh on this machine.

The mesh itself is `python -m callmesh_up`, which this process becomes.
"""

from __future__ import annotations

from pathlib import Path

import click

from callmesh.cli import output
from callmesh.cli.caps import arguments as cap_arguments
from callmesh.cli.caps import cap_option
from callmesh.cli.process import become

_state_dir = click.option(
    "--state-dir",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where the mesh keeps its state.  [default: $CALLMESH_STATE_DIR, or "
    "$XDG_STATE_HOME/callmesh/default]",
)


@click.command("up")
@click.option("--detach", is_flag=True, help="Return once the mesh is ready; it goes on.")
@_state_dir
@click.option(
    "--port", type=click.IntRange(0, 65535), default=7433, show_default=True, help="Of the API."
)
@click.option(
    "--ingress-port",
    type=click.IntRange(0, 65535),
    default=7480,
    show_default=True,
    help="For browsers.",
)
@click.option(
    "--keep-runs",
    metavar="N",
    type=click.IntRange(0),
    help="Ended runs that are kept, the newest.  [default: 10000]",
)
@click.option(
    "--keep-days",
    metavar="DAYS",
    type=click.FloatRange(0),
    help="How long at most.  [default: 30]",
)
@cap_option("environments", "bundles")
def up_command(
    *,
    detach: bool,
    state_dir: Path | None,
    port: int,
    ingress_port: int,
    keep_runs: int | None,
    keep_days: float | None,
    caps: tuple[tuple[str, int], ...],
) -> None:
    """Start a mesh on this machine: control plane, node agent and Envoy.

    It runs until Ctrl-C, which ends apps and tasks and leaves nothing behind but
    the state folder; `callmesh up` again goes on from there. With --detach it
    runs in the background until `callmesh down`. A port of 0 means any free one.

    Older runs are removed at the start and every half hour, with the files and
    large values that nothing else refers to.
    """
    if port and port == ingress_port:
        output.stop(
            f"the API and the ingress cannot both have port {port}",
            hint="choose another one for --port or for --ingress-port",
            code=output.USAGE,
        )
    arguments = ["up", f"--port={port}", f"--ingress-port={ingress_port}"]
    for name, value in (("--keep-runs", keep_runs), ("--keep-days", keep_days)):
        if value is not None:
            arguments.append(f"{name}={value}")
    arguments += cap_arguments(caps)
    if detach:
        arguments.append("--detach")
    become(arguments, state_dir)


@click.command("down")
@_state_dir
@click.option("--purge", is_flag=True, help="Also delete the state: deploys, runs, secrets, logs.")
def down_command(*, state_dir: Path | None, purge: bool) -> None:
    """End the mesh of this machine, its apps and its tasks.

    With --state-dir it ends a `callmesh server` or a `callmesh agent` as well.
    What was deployed is kept, and starts again with `callmesh up`.
    """
    become(["down", *(["--purge"] if purge else [])], state_dir)
