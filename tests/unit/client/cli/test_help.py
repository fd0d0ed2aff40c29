"""`--help` of every command, as a terminal of 80 columns shows it."""

from __future__ import annotations

from collections.abc import Callable

import click
import pytest

from callmesh.cli import main as program

LINES = [
    "",
    *program.COMMANDS,
    "get apps",
    "get runs",
    "create secret",
    "delete app",
    "delete node",
]


@pytest.mark.parametrize("line", LINES)
def test_the_help_teaches(
    capsys: pytest.CaptureFixture[str], golden: Callable[[str, str], None], line: str
) -> None:
    assert program.run([*line.split(), "--help"]) == 0
    golden(f"help_{line.replace(' ', '_') or 'callmesh'}.txt", capsys.readouterr().out)


def test_every_command_is_explained_in_one_line() -> None:
    for name, entry in program.COMMANDS.items():
        assert entry.summary.endswith("."), name
        assert len(entry.summary) <= 64, name


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert program.run(["--version"]) == 0
    assert capsys.readouterr().out.startswith("callmesh 0.")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_are_printed(capsys: pytest.CaptureFixture[str], shell: str) -> None:
    assert program.run(["completion", shell]) == 0
    assert "_CALLMESH_COMPLETE" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["deploy", "serve", "run"])
def test_a_shell_completes_the_file(command: str) -> None:
    found = program.cli.get_command(click.Context(program.cli), command)
    assert found is not None
    context = click.Context(found, info_name=command, resilient_parsing=True)
    assert [each.type for each in found.params[0].shell_complete(context, "sh")] == ["file"]
