"""`callmesh up` that is told to end before it is up; a state folder that goes away."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from mesh import Mesh, eventually

FREE = ("--port", "0", "--ingress-port", "0")


@pytest.fixture
def stopped(tmp_path: Path) -> Iterator[Mesh]:
    """A mesh that the test starts; whatever is left of it is killed."""
    own = Mesh(state=tmp_path / "callmesh" / "default")
    yield own
    for process in own.processes():
        process.kill()


@pytest.mark.parametrize("detach", [(), ("--detach",)], ids=["foreground", "detached"])
@pytest.mark.parametrize("mark", ["up.lock", "agent/supervisor.lock", "token"])
def test_ctrl_c_while_it_starts_leaves_nothing_and_no_traceback(
    stopped: Mesh, detach: tuple[str, ...], mark: str
) -> None:
    starting = stopped.spawn("up", *detach, *FREE, stderr=subprocess.PIPE)
    eventually(20, f"`{mark}` is there", lambda: (stopped.state / mark).exists())
    starting.send_signal(signal.SIGINT)
    _, said = starting.communicate(timeout=30)
    assert "Traceback" not in said
    assert starting.returncode == (130 if detach else 0), said
    eventually(10, "nothing is left", lambda: not stopped.processes())


def test_a_mesh_whose_state_folder_was_removed_ends_when_it_is_told_to(stopped: Mesh) -> None:
    stopped.up()
    process = stopped.process("up")
    kept = [stopped.process(kind) for kind in ("supervisor", "envoy")]
    left = stopped.processes()
    for path in sorted(stopped.state.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink(missing_ok=True)
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    gone, alive = psutil.wait_procs([process, *kept, *left], timeout=20)
    assert not alive, [each.cmdline() for each in alive]
    assert gone
    assert time.monotonic() - began < 15
