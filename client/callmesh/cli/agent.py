"""`agent`: this machine as a node of a mesh."""

from __future__ import annotations

import ipaddress
import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import click

from callmesh.cli import output
from callmesh.cli.caps import arguments as cap_arguments
from callmesh.cli.caps import cap_option
from callmesh.cli.process import AGENT, become
from callmesh_wire import names

_SERVER = re.compile(r"(\[[0-9a-fA-F:]+\]|[A-Za-z0-9._-]+):([0-9]{1,5})\Z")


@click.command("agent")
@click.option("--server", metavar="HOST:PORT", required=True, help="Of `callmesh server`.")
@click.option(
    "--join-token-file",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="A copy of the server's `join.token`, mode 600.",
)
@click.option("--name", metavar="NAME", help="Of this node.  [default: the host's name]")
@click.option(
    "--address",
    metavar="IP",
    default="",
    help="Of this machine: where other nodes call its apps.",
)
@click.option("--zone", metavar="ZONE", default="", help="Calls stay in a zone where they can.")
@click.option("--label", "labels", metavar="KEY=VALUE", multiple=True, help="May be repeated.")
@click.option(
    "--slots",
    metavar="N",
    type=click.IntRange(0, 10_000),
    default=0,
    help="Attempts of tasks at once.  [default: two a core, at least 4]",
)
@click.option(
    "--ingress-port",
    type=click.IntRange(1, 65535),
    default=7480,
    show_default=True,
    help="For browsers.",
)
@click.option(
    "--ingress-address",
    metavar="IP",
    default="127.0.0.1",
    show_default=True,
    help="Where the ingress listens.",
)
@click.option(
    "--state-dir",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="What the node keeps.  [default: $XDG_STATE_HOME/callmesh/node]",
)
@cap_option("environments", "bundles", "blobs")
def agent_command(
    *,
    server: str,
    join_token_file: Path,
    name: str | None,
    address: str,
    zone: str,
    labels: tuple[str, ...],
    slots: int,
    ingress_port: int,
    ingress_address: str,
    state_dir: Path | None,
    caps: tuple[tuple[str, int], ...],
) -> None:
    """Make this machine a node: it runs apps and tasks, and calls every app of the mesh.

    \b
      callmesh agent --server 10.0.0.1:7434 --join-token-file join.token \\
        --address 10.0.0.2 --zone west --label gpu=none

    Code on the node reaches each app at its endpoint on loopback, and browsers at
    the ingress. Other nodes call the node's apps at --address.

    TERM and Ctrl-C end everything on the node. HUP ends the agent alone: apps and
    tasks go on, and the next agent takes them over, which is how to upgrade it.
    """
    name = name if name is not None else _host_name()
    _check(server=server, name=name, zone=zone, labels=labels)
    for what, value in (("--address", address), ("--ingress-address", ingress_address)):
        _check_ip(what, value)
    arguments = [
        "agent",
        f"--server={server}",
        f"--join-token-file={join_token_file.expanduser().absolute()}",
        f"--name={name}",
        f"--address={address}",
        f"--zone={zone}",
        f"--slots={slots}",
        f"--ingress-port={ingress_port}",
        f"--ingress-address={ingress_address}",
        *(f"--label={each}" for each in labels),
        *cap_arguments(caps),
    ]
    become(arguments, state_dir or _default_state(), AGENT)


def _check(*, server: str, name: str, zone: str, labels: tuple[str, ...]) -> None:
    found = _SERVER.match(server)
    if found is None or not 0 < int(found[2]) < 65536:
        _refuse(f"`{server}` is no HOST:PORT", "name the server, such as --server 10.0.0.1:7434")
    try:
        names.check_node(name)
    except names.NameProblem as problem:
        _refuse(str(problem), "choose another one with --name")
    try:
        if zone:
            names.check_zone(zone)
        for key, value in _pairs(labels):
            names.check_label(key, value)
    except names.NameProblem as problem:
        output.stop(str(problem), code=output.USAGE)


def _pairs(labels: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    seen = set()
    for each in labels:
        key, equals, value = each.partition("=")
        if not equals:
            _refuse(f"`{each}` is no label", f"write it as KEY=VALUE, such as --label {each}=yes")
        if key in seen:
            _refuse(f"label `{key}` is given twice", "name each label once")
        seen.add(key)
        yield key, value


def _check_ip(what: str, value: str) -> None:
    if not value:
        return
    try:
        ipaddress.ip_address(value)
    except ValueError:
        _refuse(f"{what} `{value}` is no IP address", f"name one, such as {what} 10.0.0.2")


def _refuse(message: str, hint: str) -> None:
    output.stop(message, hint=hint, code=output.USAGE)


def _host_name() -> str:
    short = socket.gethostname().partition(".")[0].lower()
    return re.sub(r"[^a-z0-9-]+", "-", short).strip("-")[:63] or "node"


def _default_state() -> Path:
    home = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(home) / "callmesh" / "node"
