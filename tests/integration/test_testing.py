"""`callmesh.testing` in a user's own project, run by the user's own pytest."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

pytestmark = pytest.mark.slow

CONFTEST = 'pytest_plugins = ["callmesh.testing"]\n'
TESTS = """
import os
import time

import httpx
import callmesh as flyte
from callmesh.app.extras import FastAPIAppEnvironment
from fastapi import FastAPI

app = FastAPI()
env = FastAPIAppEnvironment(name="greeter", app=app, requires_auth=False)
tasks = flyte.TaskEnvironment(name="shouts", depends_on=[env])


@app.get("/hello")
async def hello() -> str:
    return "hello"


@tasks.task
async def shout() -> str:
    async with httpx.AsyncClient() as client:
        return (await client.get(f"{env.endpoint}/hello")).json().upper()


def test_an_app(callmesh_mesh):
    print("STATE", callmesh_mesh.state_dir)
    callmesh_mesh.deploy(env)
    assert httpx.get(f"{callmesh_mesh.endpoint('greeter')}/hello").json() == "hello"


def test_a_task_in_the_same_mesh(callmesh_mesh):
    assert flyte.run(shout).outputs()[0] == "HELLO"
"""


def test_a_fixture_gives_a_mesh_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_mine.py").write_text(TESTS)
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-s", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=110,
        env={k: v for k, v in os.environ.items() if not k.startswith("CALLMESH_")},
        check=False,
    )
    print(f"two tests with a mesh of their own took {time.monotonic() - began:.1f} s")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout
    state = next(line for line in done.stdout.splitlines() if "STATE" in line).split()[-1]
    assert not Path(state).parent.exists()
    assert not [p for p in psutil.process_iter(["cmdline"]) if state in str(p.info["cmdline"])]
