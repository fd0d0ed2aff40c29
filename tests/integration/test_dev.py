"""`callmesh dev`: what a developer sees between two saves."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from alone import CALLMESH, Terminal
from mesh import Mesh, eventually

pytestmark = pytest.mark.slow

APP = """
import callmesh as flyte
from callmesh.app.extras import FastAPIAppEnvironment
from fastapi import FastAPI
import {helper}
app = FastAPI()
env = FastAPIAppEnvironment(name="{name}", app=app)

@app.get("/")
def root():
    print("asked", flush=True)
    return {helper}.ANSWER

@app.get("/slow")
def slow():
    import time
    time.sleep(2)
    return {helper}.ANSWER

@env.on_startup
def up():
    if {helper}.ANSWER < 0:
        raise SystemError("no such answer")
"""


@pytest.fixture
def developed(shared_mesh: Mesh, tmp_path: Path) -> object:
    """A terminal in which `dev` runs, and the file of the answer."""
    name = f"dev-{tmp_path.name[-8:].strip('_').replace('_', '-')}"
    helper = f"helper_{name.replace('-', '_')}"
    (tmp_path / "app.py").write_text(APP.format(name=name, helper=helper))
    answer = tmp_path / f"{helper}.py"
    answer.write_text("ANSWER = 1\n")
    terminal = Terminal(
        tmp_path, CALLMESH, "dev", "app.py", **{**shared_mesh.environment, "TERM": "dumb"}
    )
    yield name, answer, terminal
    if terminal.is_running:
        terminal.interrupt()
        assert terminal.end() == 0, terminal.text
    assert "Ctrl-C leaves" in terminal.seen + terminal.text
    assert "what is deployed goes on" in terminal.text


def test_a_save_is_deployed_and_mistakes_leave_what_serves(
    shared_mesh: Mesh, developed: tuple[str, Path, Terminal]
) -> None:
    name, answer, terminal = developed
    terminal.until("after the save")
    assert shared_mesh.get(name) == (200, "1")
    terminal.until(f"{name} | asked")

    saved = time.monotonic()
    answer.write_text("ANSWER = 2\n")
    eventually(30, "the new answer", lambda: shared_mesh.get(name) == (200, "2"))
    print(f"from save to new answer: {time.monotonic() - saved:.2f} s")

    terminal.forget()
    answer.write_text("ANSWER = (\n")
    text = terminal.until("watching for the next save")
    assert "SyntaxError: '(' was never closed" in text
    assert "callmesh/cli" not in text and "importlib" not in text
    assert shared_mesh.get(name) == (200, "2")

    terminal.forget()
    answer.write_text("ANSWER = -1\n")
    text = terminal.until("watching for the next save", 90)
    assert "SystemError: no such answer" in text
    assert "goes on serving" in text
    assert shared_mesh.get(name) == (200, "2")

    answer.write_text("ANSWER = 3\n")
    eventually(30, "the next answer", lambda: shared_mesh.get(name) == (200, "3"))


def test_a_mistake_is_mended_without_waiting_for_its_end(
    shared_mesh: Mesh, developed: tuple[str, Path, Terminal]
) -> None:
    name, answer, terminal = developed
    terminal.until("after the save")
    app = answer.with_name("app.py")
    good = app.read_text()
    app.write_text(good.replace("raise SystemError", "import time; time.sleep(50); raise OSError"))
    answer.write_text("ANSWER = -1\n")
    terminal.until("deploying")
    time.sleep(1)
    terminal.forget()
    answer.write_text("ANSWER = 4\n")
    eventually(40, "the mended answer", lambda: shared_mesh.get(name) == (200, "4"))
    terminal.until("after the save")


def test_a_call_that_runs_is_not_cut(
    shared_mesh: Mesh, developed: tuple[str, Path, Terminal]
) -> None:
    import threading

    name, answer, terminal = developed
    terminal.until("after the save")
    answers: list[tuple[int, str]] = []
    call = threading.Thread(target=lambda: answers.append(shared_mesh.get(name, "/slow")))
    call.start()
    time.sleep(0.3)
    answer.write_text("ANSWER = 5\n")
    eventually(30, "the new answer", lambda: shared_mesh.get(name) == (200, "5"))
    call.join(20)
    assert answers == [(200, "1")]


def test_the_same_content_is_not_deployed(
    shared_mesh: Mesh, developed: tuple[str, Path, Terminal]
) -> None:
    name, answer, terminal = developed
    terminal.until("after the save")
    terminal.forget()
    answer.write_text("ANSWER = 1\n")
    (answer.parent / "beside.py").write_text("OTHER = 1\n")
    time.sleep(1)
    assert "changed" not in terminal.text
    assert shared_mesh.json("get", "app", name)["revision"] == 1
    terminal.interrupt()
    assert terminal.end() == 0


def test_it_says_what_is_missing(tmp_path: Path, shared_mesh: Mesh) -> None:
    assert shared_mesh.cli("dev", str(tmp_path / "no.py"), check=False).returncode == 2
    alone = Mesh(state=tmp_path / "callmesh" / "default")
    (tmp_path / "app.py").write_text("")
    done = alone.cli("dev", str(tmp_path / "app.py"), check=False)
    assert done.returncode == 3
    assert "callmesh up" in done.stderr
