"""While users' code misbehaves, an app and a task beside it go on answering."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest
from mesh import Mesh, command, eventually

CODE = """
import ctypes, os, signal, sys, threading, time

import callmesh as flyte
import numpy, pandas, pyarrow
from callmesh.app.extras import FastAPIAppEnvironment
from fastapi import FastAPI

api = FastAPI()
beside = FastAPIAppEnvironment(name="nb-beside", app=api, requires_auth=False)
rogue = FastAPIAppEnvironment(name="nb-rogue", app=api, requires_auth=False)
env = flyte.TaskEnvironment(name="nb-bad")
good = flyte.TaskEnvironment(name="nb-good")


@api.get("/")
def root() -> str:
    return "here"


@api.get("/do")
def do(code: str) -> str:
    exec(code, globals())
    return "done"


@good.task
def nb_neighbour(x: int) -> int:
    return x + 1


@env.task
def nb_does(code: str) -> int:
    print("begun", flush=True)
    exec(code, globals())
    return 0
"""
SOCKET = """
import socket

import callmesh as flyte

env = flyte.TaskEnvironment(name="nb-socket")
left_open = socket.create_server(("127.0.0.1", 0))


@env.task
def nb_listens() -> int:
    return 1
"""
# Each goes on until it is ended; what it takes is bounded, so that a machine survives the test.
FORKS = """
def storm():
    for _ in range(100):
        if os.fork() == 0:
            end = time.monotonic() + 0.2
            while time.monotonic() < end: pass
            time.sleep(60)
            os._exit(0)
"""
FLOOD = "for _ in range(400): sys.stdout.write(('y' * 1023 + '\\n') * 512); time.sleep(0.01)"
PROVOCATIONS = {
    "busy loop": "while True: pass",
    "log flood": f"{FLOOD}\ntime.sleep(60)",
    "memory": (
        "held = []\n"
        "for _ in range(100): held.append(b'x' * (10 << 20)); time.sleep(0.01)\n"
        "time.sleep(60)"
    ),
    "fork storm": f"{FORKS}storm()\ntime.sleep(60)",
    "stopped": "os.kill(os.getpid(), signal.SIGSTOP)",
}
APP_PROVOCATIONS = {
    "log flood": f"def flood():\n    {FLOOD}\nthreading.Thread(target=flood).start()",
    "fork storm": f"{FORKS}threading.Thread(target=storm).start()",
    "native crash": "threading.Timer(0.1, ctypes.string_at, (0,)).start()",
    "stopped": "threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGSTOP)).start()",
}


@pytest.fixture(scope="module")
def nb(file_mesh: Mesh, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """The mesh with the code above on it."""
    folder = tmp_path_factory.mktemp("neighbours")
    for name, text in (("nb_bad", CODE), ("nb_socket", SOCKET)):
        (folder / f"{name}.py").write_text(text)
        file_mesh.cli("deploy", str(folder / f"{name}.py"))
    _neighbours_answer(file_mesh)
    yield file_mesh
    for app in ("nb-beside", "nb-rogue"):
        file_mesh.cli("delete", "app", app)


@pytest.mark.parametrize("name", PROVOCATIONS)
def test_neighbours_answer_while_a_task_misbehaves(nb: Mesh, name: str) -> None:
    with _running(nb, name.replace(" ", "-"), PROVOCATIONS[name]) as pid:
        for _ in range(2):
            _neighbours_answer(nb)
        family = [pid, *pid.children(recursive=True)]
    _, left = psutil.wait_procs(family, timeout=20)
    assert not left, [each.pid for each in left]


@pytest.mark.parametrize("name", APP_PROVOCATIONS)
def test_neighbours_answer_while_an_app_misbehaves(nb: Mesh, name: str) -> None:
    before = nb.json("get", "app", "nb-rogue")["instances"][0]
    pid = psutil.Process(before["pid"])
    assert nb.get("nb-rogue", f"/do?code={urllib.parse.quote(APP_PROVOCATIONS[name])}")[0] == 200
    time.sleep(0.3)
    for _ in range(2):
        _neighbours_answer(nb)
    family = [pid, *pid.children(recursive=True)] if pid.is_running() else []
    if name == "stopped":
        assert pid.status() == psutil.STATUS_STOPPED
        pid.kill()
    eventually(30, "it answers", lambda: nb.get("nb-rogue") == (200, '"here"'))
    if name == "fork storm":
        pid.kill()
        eventually(30, "it is back", lambda: nb.get("nb-rogue") == (200, '"here"'))
        _, left = psutil.wait_procs(family, timeout=20)
        assert not left, [each.pid for each in left]


def test_numpy_pandas_and_pyarrow_at_module_level_are_forked(nb: Mesh) -> None:
    nb.cli("run", "deployed-task", "nb_does", "--code", "pass")
    name = nb.json("get", "runs", "--task", "nb_does")[0]["name"]
    attempt = nb.json("describe", "run", name)["attempts"][0]
    assert (attempt["worker_start"], attempt["spawned_because"]) == ("forked", "")
    for told in (nb.cli("describe", "run", name), nb.cli("describe", "task", "nb_does")):
        assert " forked\n" in told.stdout, told.stdout


def test_what_is_spawned_is_said_with_the_reason(nb: Mesh) -> None:
    fresh = nb.cli("describe", "task", "nb_listens").stdout
    assert "none of its last runs has started one" in fresh
    nb.cli("run", "deployed-task", "nb_listens")
    name = nb.json("get", "runs", "--task", "nb_listens")[0]["name"]
    reason = "the import of `nb_socket` leaves behind what no fork survives: a socket (IPv4, 127"
    attempt = nb.json("describe", "run", name)["attempts"][0]
    assert attempt["worker_start"] == "spawned"
    assert attempt["spawned_because"].startswith(reason)
    for told in (nb.cli("describe", "run", name), nb.cli("describe", "task", "nb_listens")):
        assert f"spawned: {reason}" in " ".join(told.stdout.split()), told.stdout


@contextmanager
def _running(mesh: Mesh, name: str, code: str) -> Iterator[psutil.Process]:
    """A run of ``code`` that is in the middle of it; aborted after the block."""
    name = f"nb-{name}"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    arguments = ("run", "--name", name, "deployed-task", "nb_does", "--code", code)
    waiting = mesh.spawn(*arguments, **quiet)
    try:
        eventually(20, "it runs", lambda: _run(mesh, name).get("phase") == "running")
        worker = _run(mesh, name)["attempts"][0]["worker"]
        # The first one: what it forked bears its title.
        found = [p for p in mesh.processes() if f"callmesh: worker {worker}" in command(p)]
        time.sleep(0.3)
        yield min(found, key=lambda each: each.create_time())
        assert _run(mesh, name)["phase"] == "running", "it was to go on during the block"
    finally:
        mesh.cli("abort", name, check=False)
        eventually(30, "it is aborted", lambda: _run(mesh, name).get("phase") == "aborted")
        waiting.wait(20)


def _neighbours_answer(mesh: Mesh) -> None:
    assert mesh.get("nb-beside", timeout=20) == (200, '"here"')
    done = mesh.cli("run", "deployed-task", "nb_neighbour", "--x", "41")
    assert done.stdout.strip().endswith("42"), done.stdout


def _run(mesh: Mesh, name: str) -> dict[str, object]:
    found = mesh.cli("get", "run", name, "-o", "json", check=False)
    told: dict[str, object] = json.loads(found.stdout) if not found.returncode else {}
    return told
