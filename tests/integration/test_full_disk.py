"""The disk is full: nothing acknowledged is lost, whoever asks is told, and room heals it."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from mesh import Mesh, eventually

CODE = """
import time

import callmesh as flyte
from callmesh.app.extras import FastAPIAppEnvironment
from fastapi import FastAPI

api = FastAPI()
web = FastAPIAppEnvironment(name="web", app=api, requires_auth=False)
env = flyte.TaskEnvironment(name="disk")


@api.get("/")
def root() -> str:
    return "hi"


@env.task
def slow(seconds: float) -> str:
    time.sleep(seconds)
    return "slept"
"""


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A disk of 40 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=40m", "callmesh-test", str(disk)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {done.stderr.strip()}")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_a_full_disk_refuses_new_work_and_keeps_what_it_took(small: Path, tmp_path: Path) -> None:
    file, other = tmp_path / "app.py", tmp_path / "other.py"
    file.write_text(CODE)
    other.write_text(CODE.replace('"web"', '"other"') + f"# {os.urandom(200_000).hex()}\n")
    with Mesh(state=small / "callmesh" / "default").running() as mesh:
        mesh.cli("deploy", str(file))
        running = mesh.spawn(
            *("run", "deployed-task", "slow", "--seconds", "3"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        eventually(20, "the run runs", lambda: _phases(mesh) == ["running"])
        filler = small / "filler"
        _fill(filler)
        refused = (
            ("run", "deployed-task", "slow", "--seconds", "0"),
            ("deploy", str(other)),
            ("create", "secret", "late", "--value", "v"),
        )
        for command in refused:
            # Until the last pages of the store are used up something may still fit.
            eventually(20, f"{command} is refused", lambda c=command: _is_refused(mesh, c))
        assert mesh.get("web") == (200, '"hi"')
        assert mesh.json("get", "app", "web")["state"] == "ready"
        os.kill(mesh.json("get", "app", "web")["instances"][0]["pid"], signal.SIGKILL)
        eventually(20, "why it is away", lambda: "No space left" in _told_of(mesh, "web"))
        assert running.poll() is None, "its end is not on the disk"
        assert "running" in _phases(mesh)

        filler.unlink()
        assert running.communicate(timeout=30)[0] == '"slept"\n'
        eventually(40, "the app is back", lambda: mesh.get("web") == (200, '"hi"'))
        mesh.cli("deploy", str(other))
        assert mesh.cli("run", "deployed-task", "slow", "--seconds", "0").stdout == '"slept"\n'
        assert set(_phases(mesh)) == {"succeeded"}


def test_a_mesh_does_not_start_on_a_full_disk(small: Path) -> None:
    _fill(small / "filler")
    mesh = Mesh(state=small / "callmesh" / "default")
    done = mesh.cli("up", "--detach", "--port", "0", "--ingress-port", "0", check=False)
    said = " ".join(done.stderr.split())
    assert done.returncode == 1
    assert "No space left on device; make room, or name another with --state-dir" in said, said
    assert "Traceback" not in said
    assert not mesh.processes()


def _fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        for size in (1 << 20, 4096):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue


def _is_refused(mesh: Mesh, command: tuple[str, ...]) -> bool:
    done = mesh.cli(*command, check=False)
    if not done.returncode:
        return False
    said = " ".join(done.stderr.split())
    assert done.returncode == 1, said
    assert "error: the disk that holds `" in said, said
    assert "is full: " in said, said
    assert "make room and try again" in said, said
    return True


def _phases(mesh: Mesh) -> list[str]:
    return [each["phase"] for each in mesh.json("get", "runs")]


def _told_of(mesh: Mesh, app: str) -> str:
    return mesh.cli("describe", "app", app).stdout
