"""The control plane is away: what runs goes on, what dies comes back, what waits is answered."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from mesh import eventually
from split import Split

FILE = Path(__file__).parent / "projects" / "keeping.py"
WORD = "correct horse battery staple"
WAITS = "waits for the server"


@pytest.fixture
def split(tmp_path: Path) -> Iterator[Split]:
    with Split(tmp_path).running() as made:
        made.mesh.cli("create", "secret", "word", "--value", WORD)
        made.mesh.cli("deploy", str(FILE), timeout=120)
        yield made


def seen(url: str, host: str = "") -> dict[str, Any]:
    """What the app answers; {} while it does not."""
    request = urllib.request.Request(url, headers={"Host": host} if host else {})
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            found: dict[str, Any] = json.loads(answer.read())
            return found
    except OSError:
        return {}


def test_a_whole_node_comes_back_without_the_server(split: Split) -> None:
    url = split.mesh.json("get", "app", "front")["endpoint"]
    before = seen(url)
    assert (before["colour"], before["word"]) == ("blue", WORD)
    split.kill_server()
    split.cut_power()
    assert seen(url) == {}
    split.start_agent(until=WAITS)
    after = eventually(30, "the apps are back", lambda: seen(url))
    assert after["instance"] == before["instance"]
    assert (after["colour"], after["word"]) == ("blue", WORD)
    assert after["pid"] != before["pid"]
    assert seen(split.ingress, "front.localhost")["pid"] == after["pid"]
    split.start_server()
    eventually(30, "the node has joined", lambda: "is up" in split.log("node"))
    found = eventually(
        30, "the server knows it", lambda: _ready(split.mesh.json("get", "app", "kept"))
    )
    assert [each["id"] for each in found["instances"]] == [before["instance"]]
    assert found["instances"][0]["pid"] == after["pid"]
    assert seen(url)["pid"] == after["pid"]


def _ready(app: dict[str, Any]) -> dict[str, Any] | None:
    return app if app["replicas"]["ready"] == app["replicas"]["wanted"] == 1 else None


def test_no_secret_is_on_the_node_s_disk_in_clear(split: Split) -> None:
    url = split.mesh.json("get", "app", "kept")["endpoint"]
    assert seen(url)["word"] == WORD
    sealed = split.layout.agent / "desired.sealed"
    eventually(10, "the desired set is on disk", sealed.exists)
    for file in split.layout.agent.rglob("*"):
        if file.is_file():
            assert WORD.encode() not in file.read_bytes(), file
    for which in ("node", "server"):
        assert WORD not in split.log(which)


def test_an_agent_restarts_without_the_server_and_starts_nothing_twice(split: Split) -> None:
    url = split.mesh.json("get", "app", "front")["endpoint"]
    before = seen(url)
    split.kill_server()
    for stop in (split.kill_agent, lambda: split.end_agent(signal.SIGHUP)):
        pids = {each.pid for each in split.node_processes()}
        stop()
        assert seen(url) == before
        split.start_agent(until=WAITS)
        assert seen(url) == before
        ours = {each.pid for each in split.node_processes()}
        assert len(ours) == len(pids)
    split.start_server()
    eventually(30, "the server knows it", lambda: _ready(split.mesh.json("get", "app", "front")))
    assert seen(url) == before


def test_what_crashes_comes_back_without_the_server(split: Split) -> None:
    url = split.mesh.json("get", "app", "front")["endpoint"]
    before = seen(url)
    split.kill_server()
    for victim in (before["pid"], before["front"]):
        _kill(victim)
    after = eventually(30, "the apps are back", lambda: seen(url))
    assert after["pid"] != before["pid"]
    assert after["front"] != before["front"]
    assert (after["colour"], after["word"]) == ("blue", WORD)
    split.process("--config-path").kill()
    assert eventually(30, "Envoy is back", lambda: seen(url)) == after
    split.process("callmesh_agent.supervisor").kill()
    assert seen(url) == after
    _kill(after["pid"])
    again = eventually(30, "the app is back", lambda: seen(url))
    assert again["pid"] != after["pid"]
    split.start_server()
    eventually(30, "the server knows it", lambda: _ready(split.mesh.json("get", "app", "kept")))


def test_results_of_a_node_that_was_restarted_meanwhile_arrive(split: Split) -> None:
    mesh = split.mesh
    script = (
        "import callmesh as flyte\nfrom callmesh import remote\nflyte.init_from_config()\n"
        "run = flyte.run(remote.Task.get('keeping.nap', auto_version='latest'), seconds=4)\n"
        "print(run.name)\n"
    )
    file = split.layout.state.parent / "submit.py"
    file.write_text(script)
    name = mesh.python(file).strip()
    eventually(30, "it runs", lambda: mesh.json("get", "run", name)["phase"] == "running")
    split.kill_server()
    spool = split.layout.agent / "spool"
    eventually(30, "its result is on disk", lambda: list(spool.glob("*.report")))
    split.cut_power()
    split.start_agent(until=WAITS)
    split.start_server()
    run = eventually(30, "it has ended", lambda: _ended(mesh.json("get", "run", name)))
    assert run["outputs"] == WORD
    assert len(run["attempts"]) == 1
    eventually(10, "the spool is empty", lambda: not list(spool.glob("*.report")))


def _ended(run: dict[str, Any]) -> dict[str, Any] | None:
    return run if run["phase"] == "succeeded" else None


def _kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_clients_wait_for_a_minute_and_get_their_answer(split: Split) -> None:
    url = split.mesh.json("get", "app", "front")["endpoint"]
    script = split.layout.state.parent / "wait.py"
    script.write_text(WAITING)
    with ExitStack() as stack:

        def client(*arguments: str) -> subprocess.Popen[str]:
            return stack.enter_context(split.client(*arguments))

        run = client("run", "deployed-task", "keeping.nap", "--seconds", "25")
        calls = client("run", "deployed-task", "keeping.twice", "--seconds", "25")
        sdk = stack.enter_context(split.script(script))
        assert sdk.stdout and sdk.stdout.readline() == "submitted\n"
        eventually(60, "three runs", lambda: _running(split) == 3)
        deploy = client("deploy", str(FILE.with_name("late.py")))
        eventually(60, "it starts", lambda: split.mesh.cli("logs", "app/late", check=False).stdout)
        split.kill_server()
        _stay_away(url, 65)
        split.start_server()
        for each, answer in ((run, WORD), (calls, [WORD] * 2)):
            out, err = each.communicate(timeout=60)
            assert (each.returncode, json.loads(out)) == (0, answer), err
            assert "reconnecting: the control plane is away" in err
        assert sdk.stdout.readline() == f"{WORD} {WORD}\n"
        _, err = deploy.communicate(timeout=60)
        assert deploy.returncode == 0, err
        assert "reconnecting" in err
        assert "is ready" in err
    runs = split.mesh.json("get", "runs")
    assert {each["phase"] for each in runs} == {"succeeded"}
    assert all(len(split.mesh.json("get", "run", each["name"])["attempts"]) == 1 for each in runs)


def _running(split: Split) -> int:
    return sum(each["phase"] == "running" for each in split.mesh.json("get", "runs"))


def _stay_away(url: str, seconds: float) -> None:
    """Call all the time: no call is lost for want of a control plane."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        assert seen(url)["word"] == WORD
        time.sleep(0.25)


WAITING = """
import callmesh as flyte
from callmesh import remote

flyte.init_from_config()
nap = remote.Task.get("keeping.nap", auto_version="latest")
run = flyte.run(nap, seconds=25)
while run.phase != "running":
    run = remote.Run.get(run.name)
print("submitted", flush=True)
first = run.result()
print(first, flyte.run(nap, seconds=0.1).result(), flush=True)
"""
