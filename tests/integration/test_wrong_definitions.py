"""A file that declares what cannot be: each mistake is one sentence, at once."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest
from mesh import Mesh, eventually

HEAD = """
import callmesh as flyte
from callmesh.app.extras import FastAPIAppEnvironment
from fastapi import FastAPI

P, Endpoint, Resources = flyte.app.Parameter, flyte.app.AppEndpoint, flyte.Resources
api = FastAPI()


def web(name, **more):
    return FastAPIAppEnvironment(name=name, app=api, requires_auth=False, **more)

"""
REFUSED = {
    "cycle": (
        'a = web("a")\nb = web("b", depends_on=[a])\na.depends_on.append(b)\n',
        "the environments depend on each other in a circle: a → b → a; remove one `depends_on`",
    ),
    "endpoint": (
        'a = web("asks", parameters=[P(name="u", value=Endpoint(app_name="nowhere"))])\n',
        (
            "parameter `u` of app `asks` is the endpoint of app `nowhere`, which is neither in "
            "this deploy nor in default/development: deploy it too, or before"
        ),
    ),
    "twins": (
        'a = web("twin")\nb = web("twin")\n',
        "two environments are called `twin`, in `twins`: rename one",
    ),
    "parameters": (
        'a = web("a", parameters=[P(name="x", value="1"), P(name="x", value="2")])\n',
        "line 11: app `a` has two parameters called `x`",
    ),
    "name": (
        'a = web("My App!")\n',
        "line 11: app name `My App!` must be lower-case letters, digits and single `-`",
    ),
    "long_name": ('a = web("a" * 100)\n', "`aaaaaaaaaaaaaaaaaaaa…` has 100 characters"),
    "environment_name": (
        'a = flyte.TaskEnvironment(name="Bad Name")\n',
        "environment_name.py`, line 13: environment name `Bad Name` must be snake_case",
    ),
    "cpu": (
        'a = web("a", resources=Resources(cpu="lots"))\n',
        "line 13: `cpu` must be cores, such as 2, 0.5 or \"500m\", not 'lots'",
    ),
    "memory": (
        'a = web("a", resources=Resources(memory="12Qi"))\n',
        'line 13: `memory` must be bytes, such as "512Mi" or "4Gi", not \'12Qi\'',
    ),
    "port": ('a = web("a", port=99999)\n', "a port must be between 1 and 65535, not 99999"),
    "functions": (
        'a = flyte.TaskEnvironment(name="twice")\n@a.task\ndef f(): ...\n@a.task\ndef f(): ...\n',
        "line 16: task `twice.f` is declared twice: rename one function",
    ),
}


@pytest.mark.parametrize("mistake", REFUSED)
def test_a_wrong_declaration_is_one_sentence(
    shared_mesh: Mesh, tmp_path: Path, mistake: str
) -> None:
    declared, sentence = REFUSED[mistake]
    done = _deploy(shared_mesh, tmp_path / f"{mistake}.py", HEAD + declared)
    said = _flat(done.stderr)
    assert done.returncode == 2, said
    assert sentence in said
    assert "Traceback" not in said
    assert said.startswith("error: "), said
    assert max(map(len, done.stderr.splitlines())) <= 80


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ('memory="999Gi"', "memory, and 999 GiB is asked for; it is kept"),
        ("gpu=1", "node `local` has no GPU, and `gpu:1` is asked for; it is kept"),
    ],
)
def test_what_no_node_has_is_told_at_once(
    shared_mesh: Mesh, tmp_path: Path, asked: str, sentence: str
) -> None:
    began = time.monotonic()
    text = f'{HEAD}big = web("greedy", resources=Resources({asked}))\n'
    done = _deploy(shared_mesh, tmp_path / "greedy.py", text)
    assert time.monotonic() - began < 30, "a minute is how long a start may take"
    assert done.returncode == 1
    assert sentence in _flat(done.stderr)
    assert shared_mesh.json("get", "app", "greedy")["state"] == "pending"
    shared_mesh.cli("delete", "app", "greedy")


def test_a_run_that_no_node_takes_says_so_and_can_be_aborted(
    shared_mesh: Mesh, tmp_path: Path
) -> None:
    file = tmp_path / "huge.py"
    file.write_text(
        "import callmesh as flyte\n"
        'env = flyte.TaskEnvironment(name="huge", resources=flyte.Resources(memory="999Gi"))\n'
        "@env.task\ndef much() -> int:\n    return 1\n"
    )
    waiting = shared_mesh.spawn("run", str(file), "much", stderr=subprocess.PIPE)
    assert waiting.stderr is not None
    name = waiting.stderr.readline().split()[1]
    told = eventually(20, "why it waits", lambda: waiting.stderr and waiting.stderr.readline())
    assert f"run {name}: waiting_for_resources - node `local` has" in told
    shared_mesh.cli("abort", name)
    assert waiting.wait(20) == 1
    waiting.stderr.close()


@pytest.mark.parametrize(
    ("text", "shown", "hidden"),
    [
        ("def f(:\n    pass\n", "SyntaxError: invalid syntax", "callmesh/"),
        (
            'import json\n\n\ndef deep():\n    return json.loads("{")\n\n\ndeep()\n',
            "line 5, in deep",
            "json/decoder.py",
        ),
        ("import not_there_at_all\n", "No module named 'not_there_at_all'", "importlib"),
        ("import sys\n\nsys.exit(3)\n", "SystemExit: 3", "callmesh/"),
    ],
)
def test_a_file_that_cannot_be_imported_shows_its_own_frames(
    shared_mesh: Mesh, tmp_path: Path, text: str, shown: str, hidden: str
) -> None:
    done = _deploy(shared_mesh, tmp_path / "broken.py", text)
    assert done.returncode == 2
    assert shown in done.stderr
    assert hidden not in done.stderr
    assert _flat(done.stderr).endswith("broken.py` could not be imported")


def test_no_file_no_python_and_no_environment(shared_mesh: Mesh, tmp_path: Path) -> None:
    (tmp_path / "plain.txt").write_text("")
    (tmp_path / "empty.py").write_text("x = 1\n")
    for name, sentence in (
        ("absent.py", "absent.py` does not exist"),
        ("plain.txt", "plain.txt` must be a Python file"),
        ("empty.py", "empty.py` declares no environment"),
        (".", "is a folder, not a file"),
    ):
        done = shared_mesh.cli("deploy", str(tmp_path / name), check=False)
        assert done.returncode == 2
        assert sentence in _flat(done.stderr)


def _deploy(mesh: Mesh, file: Path, text: str) -> subprocess.CompletedProcess[str]:
    file.write_text(text)
    return mesh.cli("deploy", str(file), check=False)


def _flat(text: str) -> str:
    return " ".join(text.split())


DO_NOT_START = """
import callmesh as flyte

web, quick = flyte.app.AppEnvironment, flyte.app.Timeouts(startup=3)
crasher = web(name="crasher", args="echo one; echo two; exit 7", requires_auth=False)
quitter = web(name="quitter", args="echo goodbye", requires_auth=False)
mute = web(name="mute", args="echo nothing to do; exec sleep 60", timeouts=quick)
lost = web(name="lost", args=["no-such-program"], requires_auth=False)
native = web(name="native", requires_auth=False)


@native.server
def serve():
    import ctypes

    print("about to crash", flush=True)
    ctypes.string_at(0)
"""


def test_an_app_that_does_not_start_says_why_with_its_last_lines(
    shared_mesh: Mesh, tmp_path: Path
) -> None:
    file = tmp_path / "starts.py"
    file.write_text(DO_NOT_START)
    shared_mesh.cli("deploy", str(file), "--no-wait")
    for app, sentence, lines in (
        ("crasher", "failed to start 3 times in a row: exit code 7", ["one", "two"]),
        ("quitter", "failed to start 3 times in a row: exit code 0", ["goodbye"]),
        ("lost", "exit code 127", ["no-such-program: not found"]),
        ("native", "signal 11 (SIGSEGV)", ["about to crash"]),
        ("mute", "nothing of it listens on port", ["nothing to do"]),
    ):
        eventually(40, f"{app} failed", lambda app=app: _state(shared_mesh, app) == "failed")
        told = _flat(shared_mesh.cli("describe", "app", app).stdout)
        assert sentence in told, told
        assert all(line in told for line in lines), told
        called = shared_mesh.cli("call", app, "/", check=False)
        assert called.returncode == 1
        assert f"no instance of app `{app}` is ready" in called.stdout + called.stderr
        shared_mesh.cli("delete", "app", app)


def _state(mesh: Mesh, app: str) -> str:
    return str(mesh.json("get", "app", app)["state"])


@pytest.mark.parametrize(
    "command",
    [
        ("get", "app", "shpo"),
        ("get", "run", "rnone"),
        ("describe", "shpo"),
        ("abort", "rnone"),
        ("logs", "shpo"),
        ("delete", "app", "shpo"),
        ("rollback", "shpo"),
        ("call", "shpo", "/"),
        ("run", "deployed-task", "shpo"),
        ("open", "shpo"),
        ("get", "node", "shpo"),
        ("delete", "secret", "shpo"),
    ],
)
def test_what_does_not_exist_is_named_with_the_next_step(
    shared_mesh: Mesh, command: tuple[str, ...]
) -> None:
    done = shared_mesh.cli(*command, check=False)
    said = _flat(done.stderr)
    assert done.returncode == 1
    assert f"`{command[-1] if command[-1] != '/' else 'shpo'}`" in said
    assert "there is no " in said
    assert "`callmesh get " in said, said
    assert not done.stdout
