"""What becomes of a call whose instance dies under it: repeated only where that is safe."""

from __future__ import annotations

import threading
from pathlib import Path

import httpx
import psutil
import pytest
from mesh import Mesh, eventually
from mirror import mirror

pytestmark = pytest.mark.slow


def crash(mesh: Mesh, folder: Path, app: str, method: str) -> tuple[httpx.Response, list[int]]:
    """Kill the instance that has the call in hand; the answer, and who saw the call."""
    mesh.cli("deploy", mirror(folder, app, replicas=2))
    endpoint = mesh.json("get", "app", app)["endpoint"]
    answers: list[httpx.Response] = []

    def call() -> None:
        with httpx.Client(trust_env=False, timeout=30) as client:
            answers.append(client.request(method, f"{endpoint}/hold"))

    def seen() -> list[int]:
        path = folder / method
        return [int(line) for line in path.read_text().splitlines()] if path.exists() else []

    calling = threading.Thread(target=call, daemon=True)
    calling.start()
    first = eventually(10, "an instance has the call", seen)[0]
    psutil.Process(first).kill()
    eventually(10, "it is over or repeated", lambda: answers or len(seen()) > 1)
    (folder / "go").touch()
    calling.join(30)
    assert answers, "the caller was left without an answer"
    return answers[0], seen()


def test_a_get_is_made_again_at_another_instance(shared_mesh: Mesh, tmp_path: Path) -> None:
    answer, seen = crash(shared_mesh, tmp_path, "repeats", "GET")
    assert (answer.status_code, answer.json()) == (200, "one")
    assert len(set(seen)) == 2


def test_a_post_that_was_seen_is_not_made_again(shared_mesh: Mesh, tmp_path: Path) -> None:
    answer, seen = crash(shared_mesh, tmp_path, "repeats-not", "POST")
    assert len(seen) == 1
    assert answer.status_code == 503
    assert answer.text.startswith("app `repeats-not` closed the connection before it had answered")
    assert "callmesh logs app/repeats-not" in answer.text
