"""Ctrl-C in the middle of each command: one line, 130, and nothing half done is left."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from mesh import CALLMESH, Mesh, eventually

CODE = """
import time

import callmesh as flyte
from callmesh.app.extras import FastAPIAppEnvironment
from fastapi import FastAPI

api = FastAPI()
app = FastAPIAppEnvironment(name="int-web", app=api, requires_auth=False)
tasks = flyte.TaskEnvironment(name="int-tasks")


@api.get("/")
def root() -> str:
    return "here"


@api.get("/slow")
def slow() -> str:
    print("is asked", flush=True)
    time.sleep(20)
    return "slept"


@tasks.task
def nap(seconds: float) -> int:
    print("begun", flush=True)
    time.sleep(seconds)
    return 1
"""
# Told to end when the named module is looked for: before the commands are there.
AT_IMPORT = """
import signal, sys


class Here:
    def find_spec(self, name, path=None, target=None):
        if name == "click":
            signal.raise_signal(signal.SIGINT)
        return None


sys.meta_path.insert(0, Here())
"""


@pytest.fixture(scope="module")
def deployed(shared_mesh: Mesh, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """The mesh with the code above on it."""
    file = tmp_path_factory.mktemp("interrupts") / "int_code.py"
    file.write_text(CODE)
    shared_mesh.cli("deploy", str(file))
    yield shared_mesh
    shared_mesh.cli("delete", "app", "int-web")


def test_while_the_program_is_imported(shared_mesh: Mesh, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(AT_IMPORT)
    done = subprocess.run(
        [sys.executable, str(CALLMESH), "get", "apps"],
        env=shared_mesh.environment | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")


def test_a_run_goes_on_and_is_named(deployed: Mesh) -> None:
    name = "int-nap"
    arguments = ("run", "--name", name, "deployed-task", "nap", "--seconds", "30")
    said = _interrupted(deployed, arguments, lambda: "begun" in _log(deployed, f"run/{name}"))
    assert f"interrupted: run `{name}` goes on; `callmesh abort {name}` ends it" in said
    assert deployed.json("get", "run", name)["phase"] == "running"
    deployed.cli("abort", name)


def test_a_call_ends_and_the_app_goes_on(deployed: Mesh) -> None:
    arguments = ("call", "int-web", "/slow")
    said = _interrupted(deployed, arguments, lambda: "is asked" in _log(deployed, "app/int-web"))
    assert said == "interrupted\n"
    assert deployed.get("int-web") == (200, '"here"')


def test_following_logs_ends(deployed: Mesh) -> None:
    arguments = ("logs", "-f", "app/int-web")
    began = time.monotonic()
    said = _interrupted(deployed, arguments, lambda: time.monotonic() > began + 1.5)
    assert said in ("interrupted: app `int-web` goes on\n", "interrupted\n")


@pytest.mark.parametrize("verb", ["deploy", "serve"])
def test_a_deploy_goes_on_and_is_whole(deployed: Mesh, tmp_path: Path, verb: str) -> None:
    name = f"int-{verb}"
    file = tmp_path / f"int_{verb}.py"
    # It takes a while to start, so that the command is in the middle of its wait.
    text = CODE.replace("int-web", name).replace("import time\n", "import os, time\n", 1)
    wait = 'time.sleep(3 if "CALLMESH_WORKLOAD_SOCKET" in os.environ else 0)\n'
    file.write_text(text.replace("api = FastAPI()", f"{wait}api = FastAPI()"))
    arguments = (verb, str(file), *(("app",) if verb == "serve" else ()))
    said = _interrupted(deployed, arguments, lambda: _state(deployed, name) == "deploying")
    assert said.startswith(f"interrupted: the deploy of `{name}` goes on; "), said
    eventually(30, "it is ready", lambda: _state(deployed, name) == "ready")
    deployed.cli("delete", "app", name)


def test_a_run_without_a_mesh_ends(deployed: Mesh, tmp_path: Path) -> None:
    file = tmp_path / "int_local.py"
    file.write_text(CODE)
    mark = tmp_path / "begun"
    file.write_text(CODE.replace("print(", f"open({str(mark)!r}, 'w').close(); print("))
    run = ("run", "--local", str(file), "nap", "--seconds", "30")
    assert "interrupted" in _interrupted(deployed, run, mark.exists)


def test_down_is_gone_through_with(tmp_path: Path) -> None:
    own = Mesh(state=tmp_path / "callmesh" / "default")
    own.up()
    process = own.process("up")
    # It cannot hear TERM before it goes on: `down` waits.
    process.suspend()
    ending = own.spawn("down", stderr=subprocess.PIPE)
    time.sleep(1.5)
    ending.send_signal(signal.SIGINT)
    _, said = ending.communicate(timeout=20)
    process.resume()
    told = f"interrupted: process {process.pid} was told to end the mesh, and goes on with that\n"
    assert (ending.returncode, said) == (130, told)
    eventually(30, "nothing is left", lambda: not own.processes())


def _interrupted(mesh: Mesh, arguments: tuple[str, ...], is_in_the_middle: object) -> str:
    """Run a command, end it by Ctrl-C in the middle; what it said from then on."""
    process = mesh.spawn(*arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        eventually(30, f"{arguments} is in the middle", is_in_the_middle)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=20)
    finally:
        process.kill()
    assert "Traceback" not in said, said
    assert process.returncode == 130, said
    return said[said.rindex("interrupted") :]


def _log(mesh: Mesh, target: str) -> str:
    return mesh.cli("logs", target, check=False).stdout


def _state(mesh: Mesh, app: str) -> str:
    found = [each for each in mesh.json("get", "apps") if each["name"] == app]
    return str(found[0]["state"]) if found else ""
