"""`completion`: have a shell complete commands and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from callmesh.cli import output

_HELP = {
    "bash": 'eval "$(callmesh completion bash)"        in ~/.bashrc',
    "zsh": 'eval "$(callmesh completion zsh)"         in ~/.zshrc',
    "fish": "callmesh completion fish | source         in ~/.config/fish/config.fish",
}


@click.command("completion", epilog="\b\n" + "\n".join(_HELP.values()))
@click.argument("shell", metavar="bash|zsh|fish", type=click.Choice(list(_HELP)))
def completion_command(shell: str) -> None:
    """Print the completion script of a shell."""
    from callmesh.cli.main import cli

    kind = get_completion_class(shell)
    assert kind is not None
    output.data(kind(cli, {}, "callmesh", "_CALLMESH_COMPLETE").source())
