"""From `command` and `args` to a program."""

from __future__ import annotations

import subprocess

import pytest

from callmesh.app import AppEnvironment
from callmesh_wire import command


def _says(words: list[str], **variables: str) -> str:
    done = subprocess.run(words, env=variables, capture_output=True, text=True, check=False)
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["echo on $PORT; echo done"], "on 1\ndone"),
        ("echo a | tr a b", "b"),
        (["echo", "on", "$PORT"], "on 1"),
        ("echo $PORT", "1"),
    ],
)
def test_args_of_a_declaration_do_what_a_shell_does(args: list[str] | str, said: str) -> None:
    env = AppEnvironment(name="echo", args=args)
    words = command.command_line(env.container_cmd(), env.container_args())
    assert _says(words, PORT="1", PATH="/usr/bin:/bin") == said


def test_a_command_is_taken_word_by_word() -> None:
    words = command.command_line(["echo", "a  b", "$PORT"], ["$X/c"])
    assert _says(words, PORT="1", X="x", PATH="/usr/bin:/bin") == "a  b 1 x/c"
    assert command.command_line(["serve", "a b"], ["--fast"]) == ["serve", "a b", "--fast"]


def test_a_port_in_the_command_is_found() -> None:
    assert command.names_port(["serve"], ["--port=8080"], 8080)
    assert not command.names_port(["serve"], ["--port=18080"], 8080)
    assert not command.names_port(["serve"], [], 0)
