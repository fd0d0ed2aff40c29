"""What is in flight when an instance is replaced, deleted or ended with the mesh."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import httpx
import psutil
import pytest
import websockets.exceptions
import websockets.sync.client
from mesh import Mesh, eventually

PROJECTS = Path(__file__).parent / "projects"
# The app's drain limit, seconds.
DRAIN = 5.0
pytestmark = pytest.mark.slow


def streams(folder: Path, name: str, version: str) -> str:
    """A file with the app ``name`` in this version; ended instances leave a mark in ``folder``."""
    text = (PROJECTS / "streams.py").read_text()
    text = text.replace('VERSION = "one"', f'VERSION = "{version}"')
    text = text.replace('NAME = "streams"', f'NAME = "{name}"')
    text = text.replace('MARKS = ""', f'MARKS = "{folder}"')
    path = folder / "streams_app.py"
    path.write_text(text)
    return str(path)


def test_calls_in_flight_go_on_while_the_new_revision_serves(
    shared_mesh: Mesh, tmp_path: Path
) -> None:
    shared_mesh.cli("deploy", streams(tmp_path, "in-flight", "one"))
    endpoint = shared_mesh.json("get", "app", "in-flight")["endpoint"]
    slow: list[str] = []
    asking = threading.Thread(
        target=lambda: slow.append(httpx.get(f"{endpoint}/slow", trust_env=False).json())
    )
    with (
        websockets.sync.client.connect(endpoint.replace("http", "ws") + "/ws", proxy=None) as ws,
        httpx.stream("GET", f"{endpoint}/events", trust_env=False, timeout=10) as events,
    ):
        lines = (line for line in events.iter_lines() if line)
        assert next(lines) == "data: one 0"
        asking.start()
        began = time.monotonic()
        shared_mesh.cli("deploy", streams(tmp_path, "in-flight", "two"))
        assert httpx.get(endpoint, trust_env=False).json() == "two"
        ws.send("still here")
        assert ws.recv(timeout=5) == "one still here"
        assert next(lines).startswith("data: one")
        with pytest.raises(websockets.exceptions.ConnectionClosed) as closed:
            ws.recv(timeout=20)
    lasted = time.monotonic() - began
    asking.join()
    assert slow == ["one"]
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1012
    assert DRAIN < lasted < DRAIN + 20
    eventually(10, "the old instance ended", lambda: (tmp_path / "one").exists())


def test_events_end_at_the_drain_limit(shared_mesh: Mesh, tmp_path: Path) -> None:
    shared_mesh.cli("deploy", streams(tmp_path, "eventful", "one"))
    endpoint = shared_mesh.json("get", "app", "eventful")["endpoint"]
    lines: list[str] = []
    with httpx.stream("GET", f"{endpoint}/events", trust_env=False, timeout=20) as events:
        lasting = events.iter_lines()
        lines.append(next(lasting))
        began = time.monotonic()
        shared_mesh.cli("deploy", streams(tmp_path, "eventful", "two"))
        with pytest.raises(httpx.RemoteProtocolError):
            lines.extend(lasting)
    assert DRAIN < time.monotonic() - began < DRAIN + 20
    assert {line.split()[1] for line in lines if line} == {"one"}
    eventually(10, "the old instance's lifespan ended", lambda: (tmp_path / "one").exists())


STUBBORN = """
import callmesh as flyte
env = flyte.app.AppEnvironment(
    name="stubborn", requires_auth=False,
    args=["sh", "-c", "trap '' TERM; python -m http.server --bind 127.0.0.1 $PORT & wait; wait"],
)
"""


def test_what_ignores_term_is_killed(shared_mesh: Mesh, tmp_path: Path) -> None:
    file = tmp_path / "stubborn_app.py"
    file.write_text(STUBBORN)
    shared_mesh.cli("deploy", str(file))
    pid = shared_mesh.json("get", "app", "stubborn")["instances"][0]["pid"]
    family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    assert len(family) == 2
    began = time.monotonic()
    shared_mesh.cli("delete", "app", "stubborn")
    assert time.monotonic() - began < 25
    assert not any(each.is_running() for each in family)


def test_a_deleted_app_ends_its_lifespan_and_frees_its_name(
    shared_mesh: Mesh, tmp_path: Path
) -> None:
    shared_mesh.cli("deploy", streams(tmp_path, "to-delete", "one"))
    shared_mesh.cli("delete", "app", "to-delete")
    eventually(10, "its lifespan ended", lambda: (tmp_path / "one").exists())
    assert shared_mesh.cli("get", "app", "to-delete", check=False).returncode == 1
    shared_mesh.cli("deploy", streams(tmp_path, "to-delete", "two"))
    assert shared_mesh.get("to-delete") == (200, '"two"')


def test_the_end_of_the_mesh_lets_a_call_end(mesh: Mesh, tmp_path: Path) -> None:
    mesh.cli("deploy", streams(tmp_path, "last-call", "one"))
    endpoint = mesh.json("get", "app", "last-call")["endpoint"]
    answers: list[str] = []

    def call() -> None:
        try:
            answers.append(httpx.get(f"{endpoint}/slow", trust_env=False, timeout=20).text)
        except httpx.HTTPError as problem:
            answers.append(repr(problem))

    calling = threading.Thread(target=call)
    calling.start()
    time.sleep(0.5)
    mesh.down()
    calling.join()
    assert answers == ['"one"']
    mesh.up()


def test_the_end_of_the_mesh_ends_apps_in_order(mesh: Mesh, tmp_path: Path) -> None:
    mesh.cli("deploy", streams(tmp_path, "last", "one"))
    mesh.down()
    assert (tmp_path / "one").read_text() == "lifespan ended"
    mesh.up()
    assert eventually(10, "it is back", lambda: mesh.get("last")[0] == 200)
