"""`logs -f` across a crash of the control plane: each line once, none left out."""

from __future__ import annotations

import signal
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from mesh import Mesh, eventually

pytestmark = pytest.mark.slow

COUNTER = """
import callmesh as flyte
from callmesh.app import AppEnvironment
env = AppEnvironment(name="counter", args=["i=0; while true; do i=$((i+1)); "
    "echo line $i; sleep 0.05; done & exec python -m http.server $PORT --bind 127.0.0.1"])
tasks = flyte.TaskEnvironment(name="counting")

@tasks.task
def count(n: int) -> int:
    import time
    for i in range(n):
        print("line", i + 1, flush=True)
        time.sleep(0.05)
    return n
"""


def _numbers(lines: list[str]) -> list[int]:
    return [int(line.split("line ")[1]) for line in list(lines) if "line " in line]


def _followed(mesh: Mesh, target: str, end: Callable[[list[str]], bool]) -> list[int]:
    """The numbers that a follower has printed, with a crash in the middle."""
    follower = mesh.spawn("logs", "-f", target, stdout=subprocess.PIPE)
    lines: list[str] = []
    assert follower.stdout is not None
    reader = threading.Thread(target=lambda: lines.extend(follower.stdout))
    reader.start()
    try:
        eventually(30, "lines come", lambda: len(_numbers(lines)) > 10)
        mesh.process("up").send_signal(signal.SIGKILL)
        mesh.up()
        eventually(60, "lines come again", lambda: end(lines))
    finally:
        follower.send_signal(signal.SIGINT)
        reader.join(20)
        assert follower.wait(20) in (0, 130)
    return _numbers(lines)


def test_an_apps_lines_go_on(mesh: Mesh, tmp_path: Path) -> None:
    file = tmp_path / "counter.py"
    file.write_text(COUNTER)
    mesh.cli("deploy", str(file))
    numbers = _followed(mesh, "app/counter", lambda lines: _numbers(lines)[-1] > 200)
    assert numbers == list(range(numbers[0], numbers[-1] + 1))


def test_a_runs_lines_go_on_to_its_end(mesh: Mesh, tmp_path: Path) -> None:
    file = tmp_path / "counter.py"
    file.write_text(COUNTER)
    name = mesh.cli("run", "--detach", str(file), "count", "--n", "200").stdout.strip()
    numbers = _followed(mesh, f"run/{name}", lambda lines: _numbers(lines)[-1] == 200)
    assert numbers == list(range(1, 201))
