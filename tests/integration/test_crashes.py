"""Every process of a node is killed in turn, under a stream of calls and of runs."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from load import Load, Miss
from mesh import ROOT, Mesh, command, eventually

PROJECTS = Path(__file__).parent / "projects"
pytestmark = pytest.mark.slow


@pytest.fixture
def busy(mesh: Mesh) -> Mesh:
    """A mesh with two instances of `pair`, `front` before them, and tasks."""
    mesh.cli("deploy", str(PROJECTS / "pair.py"))
    mesh.cli("deploy", str(PROJECTS / "work.py"))
    mesh.cli("run", str(PROJECTS / "work.py"), "square", "--x", "1")
    return mesh


def submit(mesh: Mesh, seconds: float, pause: float, work: float) -> subprocess.Popen[str]:
    submitting = subprocess.Popen(
        [sys.executable, PROJECTS / "submit.py", str(seconds), str(pause), str(work)],
        env=mesh.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert submitting.stdout
    assert submitting.stdout.readline() == "started\n"
    return submitting


def every_run_has_its_result(mesh: Mesh, submitting: subprocess.Popen[str]) -> int:
    try:
        out, err = submitting.communicate(timeout=90)
    finally:
        submitting.kill()
    assert submitting.returncode == 0, err + mesh.log()
    told = json.loads(out)
    assert [(r["phase"], r["output"]) for r in told] == [("succeeded", r["x"] ** 2) for r in told]
    assert len({r["name"] for r in told}) == len(told)
    for run in told[:: max(1, len(told) // 5)]:
        kept = mesh.json("get", "run", run["name"])
        assert kept["phase"] == "succeeded"
        assert kept["outputs"] == run["output"]
    return len(told)


def written(marks: Path) -> str:
    """What the attempts have written so far."""
    path = marks / "k"
    return path.read_text() if path.exists() else ""


def instance_pids(mesh: Mesh, app: str) -> dict[str, int]:
    found = mesh.json("get", "app", app)["instances"]
    return {i["id"]: i["pid"] for i in found if i["state"] == "ready"}


def test_killing_an_instance_loses_no_call(busy: Mesh) -> None:
    endpoint = busy.json("get", "app", "pair")["endpoint"]
    before = instance_pids(busy, "pair")
    with Load(endpoint) as load, Load(endpoint, keep_alive=False) as fresh:
        time.sleep(0.5)
        for pid in list(before.values())[:1]:
            psutil.Process(pid).kill()
        eventually(
            20,
            "both instances are ready again",
            lambda: (
                len(instance_pids(busy, "pair")) == 2
                and set(instance_pids(busy, "pair").values()) != set(before.values())
            ),
        )
        time.sleep(0.3)
    assert not load.misses + fresh.misses
    assert len(load.answers) > 50
    assert busy.json("get", "app", "pair")["replicas"] == {"wanted": 2, "ready": 2}


def test_killing_envoy_costs_calls_in_flight_only(busy: Mesh) -> None:
    endpoint = busy.json("get", "app", "pair")["endpoint"]
    with Load(endpoint, keep_alive=False) as load:
        time.sleep(0.5)
        killed = time.monotonic()
        busy.process("envoy").kill()
        eventually(20, "calls are answered again", lambda: _answers_alone(load, killed, 0.5))
        back = time.monotonic()
        time.sleep(1.0)
    print(f"last miss {(load.misses or [Miss(killed, '')])[-1].at - killed:.3f} s after the kill")
    assert not [miss for miss in load.misses if miss.at > back]


def _answers_alone(load: Load, after: float, seconds: float) -> bool:
    """For so long every call was answered, all of it after a moment."""
    since = time.monotonic() - seconds
    if since < after:
        return False
    recent = [at for at, _ in load.answers if at > since]
    return len(recent) > 5 and not [miss for miss in load.misses if miss.at > since]


def test_killing_the_supervisor_changes_nothing_for_callers(busy: Mesh) -> None:
    endpoint = busy.json("get", "app", "pair")["endpoint"]
    before = instance_pids(busy, "pair")
    old = busy.process("supervisor").pid
    running = submit(busy, 3, 0.05, 0.05)
    with Load(endpoint) as load:
        time.sleep(1.0)
        psutil.Process(old).kill()
        eventually(10, "a new supervisor", lambda: _other_supervisor(busy, old))
        time.sleep(1.0)
    assert not load.misses
    assert every_run_has_its_result(busy, running) > 20
    assert instance_pids(busy, "pair") == before
    psutil.Process(next(iter(before.values()))).kill()
    eventually(
        20,
        "the new supervisor sees an adopted instance end, and it is started again",
        lambda: len(instance_pids(busy, "pair")) == 2 and instance_pids(busy, "pair") != before,
    )


def _other_supervisor(mesh: Mesh, old: int) -> bool:
    found = [p for p in mesh.processes() if "callmesh_agent.supervisor" in command(p)]
    return len(found) == 1 and found[0].pid != old


def test_killing_server_and_agent_leaves_apps_calling_each_other(busy: Mesh) -> None:
    front = busy.json("get", "app", "front")["endpoint"]
    before = instance_pids(busy, "pair") | instance_pids(busy, "front")
    running = submit(busy, 8, 0.05, 0.3)
    with Load(front) as load, Load(front, keep_alive=False) as fresh:
        time.sleep(1.0)
        busy.process("up").kill()
        time.sleep(1.5)
        busy.up()
        time.sleep(1.0)
    assert not load.misses + fresh.misses
    assert instance_pids(busy, "pair") | instance_pids(busy, "front") == before
    assert every_run_has_its_result(busy, running) > 10
    alive = [p for p in busy.processes() if "callmesh_agent.supervisor" in command(p)]
    assert len(alive) == 1


def test_a_run_that_outlives_the_control_plane_is_executed_once(busy: Mesh, tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    marks.mkdir()
    running = busy.spawn(
        "run", str(PROJECTS / "work.py"), "marked",
        "--folder", str(marks), "--key", "k", "--seconds", "3",
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        eventually(10, "the attempt runs", lambda: "\n" in written(marks))
        busy.process("up").kill()
        busy.up()
        _, err = running.communicate(timeout=60)
    finally:
        running.kill()
    assert running.returncode == 0, err + busy.log()
    lines = (marks / "k").read_text().splitlines()
    assert [line.split()[0] for line in lines] == ["start", "end"]


def test_killing_a_worker_runs_the_attempt_again(busy: Mesh, tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    marks.mkdir()
    running = busy.spawn(
        "run", str(PROJECTS / "work.py"), "marked",
        "--folder", str(marks), "--key", "k", "--seconds", "1",
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        eventually(10, "the attempt runs", lambda: "\n" in written(marks))
        pid = int((marks / "k").read_text().split()[1])
        psutil.Process(pid).kill()
        _, err = running.communicate(timeout=60)
    finally:
        running.kill()
    assert running.returncode == 0, err + busy.log()
    lines = [line.split()[0] for line in (marks / "k").read_text().splitlines()]
    assert lines == ["start", "start", "end"]
    run = busy.json("get", "runs")[0]
    assert [a["phase"] for a in busy.json("get", "run", run["name"])["attempts"]] == [
        "lost",
        "succeeded",
    ]
