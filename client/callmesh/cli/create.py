"""`create`: secrets, for now the only thing that is made without a file."""

from __future__ import annotations

from pathlib import Path

import click

from callmesh.cli import complete, output, secrets
from callmesh.cli.options import Where, where


@click.group("create")
def create_command() -> None:
    """Create a secret."""


@create_command.command("secret")
@click.argument("name", shell_complete=complete.secret_names)
@click.option("--value", default=None, help="Seen in process lists: prefer standard input.")
@click.option(
    "--from-file",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    default=None,
    help="All of its bytes.",
)
@where
def secret(name: str, where: Where, *, value: str | None, from_file: Path | None) -> None:
    """Create a secret, or replace it.

    The value is asked for without being shown, or read from standard input.
    Apps and tasks that ask for it get it when they start; it is never shown again.

    \b
    callmesh create secret api-key < key.txt
    """
    from callmesh.cli import mesh

    content = secrets.read_value(value, from_file)
    if not content:
        output.stop(f"the value of secret `{secrets.check_name(name)}` is empty", code=output.USAGE)
    mesh.connect(where).create_secret(secrets.check_name(name), content)
    output.say(f"secret `{name}` is kept; what starts from now on gets it")
