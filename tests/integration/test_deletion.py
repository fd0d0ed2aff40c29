"""Apps that are deleted while they are called, and deployed while they are deleted."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import httpx
import pytest
from load import Load
from mesh import Mesh, eventually
from mirror import mirror

pytestmark = pytest.mark.slow


class Held:
    """A call that is in flight until the file `go` exists in ``folder``."""

    def __init__(self, endpoint: str, folder: Path, calls: int = 1) -> None:
        self.answers: list[str] = []
        self._folder = folder
        self._threads = [
            threading.Thread(target=self._call, args=(f"{endpoint}/hold",), daemon=True)
            for _ in range(calls)
        ]
        for thread in self._threads:
            thread.start()
        eventually(10, "the calls are in flight", lambda: self._arrived() == calls)

    def release(self) -> None:
        (self._folder / "go").touch()
        for thread in self._threads:
            thread.join(20)

    def _arrived(self) -> int:
        path = self._folder / "GET"
        return len(path.read_text().splitlines()) if path.exists() else 0

    def _call(self, url: str) -> None:
        try:
            answer = httpx.get(url, trust_env=False, timeout=30)
            self.answers.append(f"{answer.status_code} {answer.text}")
        except httpx.HTTPError as problem:
            self.answers.append(repr(problem))


def test_a_deletion_lets_calls_end_and_others_fail_fast(shared_mesh: Mesh, tmp_path: Path) -> None:
    shared_mesh.cli("deploy", mirror(tmp_path, "doomed", replicas=2))
    endpoint = shared_mesh.json("get", "app", "doomed")["endpoint"]
    held = Held(endpoint, tmp_path, calls=4)
    with Load(endpoint, pause=0.02) as kept, Load(endpoint, pause=0.02, keep_alive=False) as fresh:
        time.sleep(0.5)
        began = time.monotonic()
        deleting = shared_mesh.spawn("delete", "app", "doomed")
        time.sleep(2.0)
        assert deleting.poll() is None, "it waits for the calls in flight"
        held.release()
        assert deleting.wait(30) == 0
        time.sleep(0.5)
    assert held.answers == ['200 "one"'] * 4
    for load in (kept, fresh):
        assert load.answers
        assert all(miss.at > began for miss in load.misses), load.misses[:3]
        assert not [m.why for m in load.misses if "Timeout" in m.why]
        gaps = [b.at - a.at for a, b in zip(load.misses, load.misses[1:], strict=False)]
        assert max(gaps, default=0) < 5


def test_a_deploy_during_the_deletion_brings_it_back(shared_mesh: Mesh, tmp_path: Path) -> None:
    shared_mesh.cli("deploy", mirror(tmp_path, "phoenix"))
    before = shared_mesh.json("get", "app", "phoenix")
    held = Held(before["endpoint"], tmp_path)
    shared_mesh.cli("delete", "app", "phoenix", "--no-wait")
    eventually(
        10,
        "it is on its way out",
        lambda: shared_mesh.json("get", "app", "phoenix")["state"] == "deleting",
    )
    shared_mesh.cli("deploy", mirror(tmp_path, "phoenix", "two"))
    after = shared_mesh.json("get", "app", "phoenix")
    assert after["endpoint"] == before["endpoint"]
    assert after["state"] == "ready"
    assert httpx.get(after["endpoint"], trust_env=False).json()["version"] == "two"
    held.release()
    assert held.answers == ['200 "one"']
    eventually(
        20,
        "only the new instance is left",
        lambda: len(shared_mesh.json("get", "app", "phoenix")["instances"]) == 1,
    )


def test_the_same_again_during_the_deletion_is_a_new_instance(
    shared_mesh: Mesh, tmp_path: Path
) -> None:
    file = mirror(tmp_path, "encore")
    shared_mesh.cli("deploy", file)
    first = shared_mesh.json("get", "app", "encore")["instances"][0]["id"]
    shared_mesh.cli("delete", "app", "encore", "--no-wait")
    shared_mesh.cli("deploy", file)
    endpoint = shared_mesh.json("get", "app", "encore")["endpoint"]
    assert httpx.get(endpoint, trust_env=False).json()["instance"] != first
