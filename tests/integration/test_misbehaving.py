"""Users' code that misbehaves: its run or app says why, and its neighbours go on."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from mesh import Mesh, eventually

CODE = """
import ctypes, os, signal, sys, threading, time

import callmesh as flyte
import numpy, pandas, pyarrow
from callmesh.app.extras import FastAPIAppEnvironment
from fastapi import FastAPI

api = FastAPI()
beside = FastAPIAppEnvironment(name="beside", app=api, requires_auth=False)
env = flyte.TaskEnvironment(name="bad")
good = flyte.TaskEnvironment(name="good")


@api.get("/")
def root() -> str:
    return "here"


@api.get("/die")
def die(how: str) -> str:
    exec(how)
    return "alive"


@good.task
def neighbour(x: int) -> int:
    return x + 1


@env.task
def does(code: str) -> int:
    space = {}
    exec(code, globals(), space)
    return space.get("result", 0)


@env.task(timeout=2)
def spins() -> int:
    while True:
        pass


@env.task
def forks() -> int:
    if os.fork() == 0:
        return 99
    time.sleep(0.5)
    return 1
"""
ENDS = {
    "exits": ("import os; os._exit(3)", "ProcessEnded", "ended with exit code 3"),
    "crashes": ("ctypes.string_at(0)", "ProcessEnded", "ended with signal 11 (SIGSEGV)"),
    "alarm": ("signal.alarm(1); time.sleep(9)", "ProcessEnded", "signal 14 (SIGALRM)"),
    "system exit": ("sys.exit(4)", "SystemExit", "4"),
}
RETURNS = {
    "threads": "for _ in range(20): threading.Thread(target=time.sleep, args=(60,)).start()",
    "children": "for _ in range(3):\n    if os.fork() == 0: time.sleep(60)",
    "closed output": "os.close(1); os.close(2)",
    "closed streams": "sys.stdout.close(); sys.stderr.close()",
    "closed everything": "os.closerange(0, 1024)",
    "binary output": "sys.stdout.buffer.write(bytes(range(256)) * 1000)",
    "one long line": "sys.stdout.write('x' * (20 << 20))",
    "handlers": "for n in (2, 15, 17): signal.signal(n, lambda *_: None)",
}


@pytest.fixture(scope="module")
def bad(file_mesh: Mesh, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """The mesh with the code above on it."""
    file = tmp_path_factory.mktemp("bad") / "bad.py"
    file.write_text(CODE)
    file_mesh.cli("deploy", str(file))
    _run(file_mesh, "neighbour", x=1)
    yield file_mesh
    file_mesh.cli("delete", "app", "beside")


@pytest.mark.parametrize("name", ENDS)
def test_a_process_that_ends_itself_fails_its_run_once(bad: Mesh, name: str) -> None:
    code, kind, message = ENDS[name]
    with _neighbours(bad):
        run = _run(bad, "does", code=code)
    assert run["phase"] == "failed"
    assert run["error"]["type"] == kind
    assert message in run["error"]["message"]
    assert len(run["attempts"]) == 1, "it may have had effects: once is enough"


@pytest.mark.parametrize("name", RETURNS)
def test_what_does_no_harm_is_let_be(bad: Mesh, name: str) -> None:
    with _neighbours(bad):
        run = _run(bad, "does", code=RETURNS[name])
    assert (run["phase"], run["outputs"]) == ("succeeded", 0), run["error"]
    # Its worker, or another one, takes what comes next.
    assert _run(bad, "does", code="result = 7")["outputs"] == 7


def test_a_child_that_comes_back_from_the_function_does_not_answer_for_it(bad: Mesh) -> None:
    for _ in range(3):
        assert _run(bad, "forks")["outputs"] == 1


def test_an_endless_loop_is_ended_by_its_timeout(bad: Mesh) -> None:
    with _neighbours(bad):
        run = _run(bad, "spins")
    assert (run["phase"], run["error"]["type"]) == ("timed_out", "MaxRuntimeExceeded")


@pytest.mark.parametrize(
    "code",
    [
        "signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)",
        "os.kill(os.getpid(), signal.SIGSTOP)",
        "while True: pass",
    ],
)
def test_what_does_not_end_can_be_aborted(bad: Mesh, code: str) -> None:
    name = f"stuck-{abs(hash(code)) % 10**8}"
    waiting = _start(bad, "does", name, code=code)
    eventually(20, "it runs", lambda: _phase(bad, name) == "running")
    time.sleep(0.3)
    with _neighbours(bad):
        bad.cli("abort", name)
        eventually(30, "it is aborted", lambda: _phase(bad, name) == "aborted")
    waiting.wait(20)


def test_a_handler_that_a_run_left_does_not_keep_the_next_one_from_cleaning_up(bad: Mesh) -> None:
    assert _run(bad, "does", code=RETURNS["handlers"])["phase"] == "succeeded"
    code = "try: print('begun', flush=True); time.sleep(60)\nfinally: print('cleaned up')"
    waiting = _start(bad, "does", "cleans-up", code=code)
    told = ("logs", "run/cleans-up")
    eventually(20, "it runs", lambda: "begun" in bad.cli(*told, check=False).stdout)
    bad.cli("abort", "cleans-up")
    eventually(8, "it cleans up, and is not killed", lambda: "cleaned up" in bad.cli(*told).stdout)
    waiting.wait(20)


def test_much_output_is_bounded_on_disk_and_its_end_can_be_read(bad: Mesh) -> None:
    code = "for n in range(200): sys.stdout.write(('y' * 1023 + '\\n') * 1024)\nprint('the end')"
    with _neighbours(bad):
        run = _run(bad, "does", code=code)
    assert run["phase"] == "succeeded"
    lines = "for n in range(300_000): print(n)"
    with _neighbours(bad):
        assert _run(bad, "does", code=lines)["phase"] == "succeeded"
    told = bad.cli("logs", f"run/{run['name']}").stdout.splitlines()
    assert told[-1] == "the end"
    logs = bad.state / "agent" / "logs"

    def used() -> int:
        return sum(each.stat().st_blocks * 512 for each in logs.rglob("*.log*"))

    eventually(60, "the logs are short", lambda: used() < 150 << 20)


def test_what_the_kernel_kills_for_memory_says_so_with_its_peak(bad: Mesh) -> None:
    group = Path("/sys/fs/cgroup/memory/callmesh-test")
    try:
        group.mkdir(exist_ok=True)
        (group / "memory.limit_in_bytes").write_text(str(200 << 20))
    except OSError as problem:
        pytest.skip(f"no memory limit can be set here: {problem}")
    code = (
        f"open('{group}/cgroup.procs', 'w').write(str(os.getpid()))\n"
        "held = []\nwhile True: held.append(bytearray(10 << 20))"
    )
    with _neighbours(bad):
        run = _run(bad, "does", code=code)
    assert (run["phase"], run["error"]["type"]) == ("failed", "OutOfMemory"), run["error"]
    assert "killed for memory at a peak of " in run["error"]["message"]
    assert len(run["attempts"]) == 1
    group.rmdir()


@pytest.mark.parametrize(
    "how", ["os._exit(3)", "ctypes.string_at(0)", "os.kill(os.getpid(), signal.SIGKILL)"]
)
def test_an_app_that_dies_is_back_and_says_how_it_ended(bad: Mesh, how: str) -> None:
    import urllib.parse

    before = bad.json("get", "app", "beside")["instances"][0]
    bad.get("beside", f"/die?how={urllib.parse.quote(how)}")
    eventually(30, "another process", lambda: _restarted(bad, before["restarts"]))
    eventually(30, "it answers", lambda: bad.get("beside") == (200, '"here"'))
    assert _run(bad, "neighbour", x=1)["outputs"] == 2


def _restarted(mesh: Mesh, before: int) -> bool:
    return bool(mesh.json("get", "app", "beside")["instances"][0]["restarts"] > before)


@contextmanager
def _neighbours(mesh: Mesh) -> Iterator[None]:
    """An app and a task that go on answering after the block, and an API that does within it."""
    yield
    assert mesh.get("beside") == (200, '"here"')
    assert _run(mesh, "neighbour", x=41)["outputs"] == 42


def _start(mesh: Mesh, task: str, name: str, **inputs: Any) -> subprocess.Popen[str]:
    words = [word for key, value in inputs.items() for word in (f"--{key}", str(value))]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return mesh.spawn("run", "--name", name, "deployed-task", task, *words, **quiet)


def _run(mesh: Mesh, task: str, **inputs: Any) -> Any:
    words = [word for key, value in inputs.items() for word in (f"--{key}", str(value))]
    done = mesh.cli("run", "deployed-task", task, *words, "-o", "json", check=False)
    assert done.returncode in (0, 1), done.stderr
    return json.loads(done.stdout) if done.stdout else _newest(mesh)


def _newest(mesh: Mesh) -> Any:
    return mesh.json("get", "run", mesh.json("get", "runs")[0]["name"])


def _phase(mesh: Mesh, name: str) -> str:
    found = mesh.cli("get", "run", name, "-o", "json", check=False)
    return str(json.loads(found.stdout)["phase"]) if not found.returncode else ""
