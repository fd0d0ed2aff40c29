"""`make demo`, without a terminal and on one."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mesh import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

ENDED = "no process, port, socket or lock of it is left"
DEMO = [sys.executable, str(ROOT / "deploy" / "demo")]


def environment(home: Path) -> dict[str, str]:
    own = {k: v for k, v in os.environ.items() if not k.startswith("CALLMESH_") and k != "CI"}
    return own | {"XDG_STATE_HOME": str(home)}


def test_demo_without_a_terminal_makes_the_calls_and_ends(tmp_path: Path) -> None:
    done = subprocess.run(
        DEMO,
        env=environment(tmp_path),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert ENDED in done.stdout
    assert "Who called whom" in done.stdout
    assert "FAILED" not in done.stdout
    lines = [line for line in done.stdout.splitlines() if str(tmp_path) not in line]
    assert [line for line in lines if len(line) > 80] == []


def test_demo_on_a_terminal_goes_on_until_ctrl_c(tmp_path: Path) -> None:
    master, slave = pty.openpty()
    process = subprocess.Popen(
        DEMO,
        env=environment(tmp_path) | {"COLUMNS": "80"},
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
    )
    os.close(slave)
    told = ""
    try:
        told = _read(master, until="Ctrl-C ends it.", seconds=200)
        assert re.search(r"http://dashboard\.localhost:\d+/", told)
        assert "\x1b[3" not in told, "colour"
        process.send_signal(signal.SIGINT)
        told += _read(master, until=ENDED, seconds=60)
        assert process.wait(30) == 0, told
    finally:
        process.kill()
        os.close(master)


def _read(terminal: int, until: str, seconds: float) -> str:
    told, end = "", time.monotonic() + seconds
    while until not in told:
        assert time.monotonic() < end, told
        try:
            told += os.read(terminal, 65536).decode(errors="replace")
        except OSError:
            raise AssertionError(told) from None
    return told
