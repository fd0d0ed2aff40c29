"""`up` and `down`: this process becomes the mesh, with these arguments."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

import pytest

from callmesh.cli import main as program


@pytest.fixture
def became(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The command lines that this process was replaced by."""
    seen: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda _, arguments: seen.append(arguments))
    return seen


def test_up_becomes_the_mesh(became: list[list[str]]) -> None:
    assert program.run(["up"]) == 0
    assert became == [
        [sys.executable, "-m", "callmesh_up", "up", "--port=7433", "--ingress-port=7480"]
    ]


def test_options_are_handed_on(
    became: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    program.run(["up", "--detach", "--port", "0", "--ingress-port", "81", "--state-dir", "s"])
    program.run(["down", "--purge", "--state-dir", "s"])
    assert became[0][3:] == [
        "up",
        "--port=0",
        "--ingress-port=81",
        "--detach",
        f"--state-dir={tmp_path}/s",
    ]
    assert became[1][3:] == ["down", "--purge", f"--state-dir={tmp_path}/s"]


def test_a_client_alone_says_what_to_install(
    became: list[list[str]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert program.run(["up"]) == 2
    assert "hint: pip install 'callmesh[all]'" in capsys.readouterr().err
    assert not became


def test_a_port_that_is_none_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert program.run(["up", "--port", "70000"]) == 2
    assert "--port" in capsys.readouterr().err


def test_one_port_for_both_is_wrong_usage(
    became: list[list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert program.run(["up", "--port", "7480"]) == 2
    assert "cannot both have port 7480" in capsys.readouterr().err
    assert not became
    assert program.run(["up", "--port", "0", "--ingress-port", "0"]) == 0
