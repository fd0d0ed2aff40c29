"""`server`: a control plane for nodes on other machines."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import click

from callmesh.cli import output
from callmesh.cli.process import become


@click.command("server")
@click.option(
    "--state-dir",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where records, code and secrets are kept.  [default: $CALLMESH_STATE_DIR, or "
    "$XDG_STATE_HOME/callmesh/default]",
)
@click.option(
    "--address",
    metavar="IP",
    default="127.0.0.1",
    show_default=True,
    help="Of this machine: where nodes connect, by TLS and with the join token.",
)
@click.option(
    "--node-port",
    type=click.IntRange(0, 65535),
    default=7434,
    show_default=True,
    help="For nodes, on that address.",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=7433,
    show_default=True,
    help="Of the API, on loopback.",
)
@click.option(
    "--ingress-port",
    type=click.IntRange(1, 65535),
    default=7480,
    show_default=True,
    help="Of the nodes' ingresses, for the URLs of apps.",
)
@click.option(
    "--lease",
    metavar="SECONDS",
    type=click.FloatRange(1, 3600),
    default=15.0,
    show_default=True,
    help="How long a silent node counts as living.",
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
def server_command(
    *,
    state_dir: Path | None,
    address: str,
    node_port: int,
    port: int,
    ingress_port: int,
    lease: float,
    keep_runs: int | None,
    keep_days: float | None,
) -> None:
    """Run the control plane of a mesh whose nodes are other machines.

    \b
    On the server:      callmesh server --address 10.0.0.1
    On every node:      callmesh agent --server 10.0.0.1:7434 \\
                          --join-token-file join.token --address 10.0.0.2

    The file `join.token` is made in the state folder at the first start: copy it
    to every node, with mode 600. Commands on this machine find the mesh by the
    state folder, as with `callmesh up`; this machine runs no apps unless it has
    an agent too.

    It runs until Ctrl-C or TERM. While it is away calls go on, tasks that run
    end, and what else happens waits until it is back.
    """
    try:
        ipaddress.ip_address(address)
    except ValueError:
        output.stop(
            f"`{address}` is no IP address",
            hint="name an address of this machine, such as --address 10.0.0.1",
            code=output.USAGE,
        )
    if port and port == node_port:
        output.stop(
            f"the API and the nodes cannot both have port {port}",
            hint="choose another one for --port or for --node-port",
            code=output.USAGE,
        )
    arguments = [
        "server",
        f"--address={address}",
        f"--node-port={node_port}",
        f"--port={port}",
        f"--ingress-port={ingress_port}",
        f"--lease={lease}",
    ]
    for name, value in (("--keep-runs", keep_runs), ("--keep-days", keep_days)):
        if value is not None:
            arguments.append(f"{name}={value}")
    become(arguments, state_dir)
