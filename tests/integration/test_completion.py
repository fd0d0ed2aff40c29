"""Completion in the shells themselves: a person presses Tab."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest
from alone import CALLMESH, Terminal, run
from mesh import Mesh

pytestmark = pytest.mark.slow

FILE = """
import callmesh as flyte
from callmesh.app import AppEnvironment
shop_env = AppEnvironment(name="completed-shop", args="python -m http.server $PORT")
work = flyte.TaskEnvironment(name="completed_work")

@work.task
def sweep_up(x: int) -> int:
    return x
"""
SHELLS = {
    "bash": (["--norc", "--noprofile", "-i"], 'eval "$(callmesh completion bash)"'),
    "zsh": (["-f", "-i"], 'autoload -Uz compinit; compinit -u; eval "$(callmesh completion zsh)"'),
    "fish": (["--no-config", "-i"], "callmesh completion fish | source"),
}
CLEAR = "\x05\x15"  # Ctrl-E, Ctrl-U
WORDS = {
    "callmesh doc": "doctor",
    "callmesh get app completed-": "completed-shop",
    "callmesh logs app/completed-": "completed-shop",
    "callmesh run deployed-task completed_": "completed_work.sweep_up",
    "callmesh run shop.py swe": "sweep_up",
    "callmesh deploy shop.py shop": "shop_env",
    "callmesh delete secret completed-": "completed-secret",
}


@pytest.fixture(scope="module")
def told_mesh(shared_mesh: Mesh, tmp_path_factory: pytest.TempPathFactory) -> Mesh:
    """A mesh with an app, a task and a secret."""
    file = tmp_path_factory.mktemp("shop") / "shop.py"
    file.write_text(FILE)
    shared_mesh.cli("deploy", str(file))
    shared_mesh.cli("create", "secret", "completed-secret", "--value", "x")
    return shared_mesh


@pytest.mark.parametrize("shell", SHELLS)
def test_tab_completes(told_mesh: Mesh, tmp_path: Path, shell: str) -> None:
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"{shell} is not installed here: deploy/test_needs.py installs it where it may")
    options, source = SHELLS[shell]
    (tmp_path / "shop.py").write_text(FILE)
    variables = told_mesh.environment
    variables["PATH"] = f"{CALLMESH.parent}:{variables['PATH']}"
    terminal = Terminal(
        tmp_path, program, *options, **{**variables, "TERM": "xterm", "COLUMNS": "200", "PS1": "> "}
    )
    try:
        terminal.type("echo be''gin\n")
        terminal.until("begin\r\n")
        terminal.type(f"{source}; echo sour''ced\n")
        terminal.until("sourced\r\n")
        for typed, wanted in WORDS.items():
            terminal.forget()
            terminal.type(f"{typed}\t")
            terminal.until(wanted)
            terminal.type(CLEAR)
            time.sleep(0.3)
    finally:
        terminal.type("exit\n")
        terminal.kill()


def test_without_a_mesh_nothing_is_said(tmp_path: Path) -> None:
    words = {"COMP_WORDS": "callmesh get app x", "COMP_CWORD": "3"}
    done = run(tmp_path, CALLMESH, **words, _CALLMESH_COMPLETE="bash_complete")
    assert (done.stdout.strip(), done.stderr) == ("", "")
    begun = time.monotonic()
    away = {**words, "CALLMESH_ENDPOINT": "10.255.255.1:7433"}
    done = run(tmp_path, CALLMESH, **away, _CALLMESH_COMPLETE="bash_complete")
    assert (done.stdout.strip(), done.stderr) == ("", "")
    assert time.monotonic() - begun < 20


def test_a_file_is_not_run_to_be_completed(tmp_path: Path) -> None:
    (tmp_path / "loud.py").write_text(f"{FILE}\nraise SystemExit('run')\n")
    words = {"COMP_WORDS": "callmesh serve loud.py ", "COMP_CWORD": "3"}
    done = run(tmp_path, CALLMESH, **words, _CALLMESH_COMPLETE="bash_complete")
    assert (done.stdout, done.stderr) == ("plain,shop_env\n", "")
    (tmp_path / "loud.py").write_text("def (")
    done = run(tmp_path, CALLMESH, **words, _CALLMESH_COMPLETE="bash_complete")
    assert (done.stdout.strip(), done.stderr) == ("", "")
