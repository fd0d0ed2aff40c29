"""Several nodes share the work: apps are spread, and everything calls everything across nodes."""

from __future__ import annotations

import hashlib
import json
import random
import signal
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from cluster import Cluster
from load import Load
from websockets.sync.client import connect

PROJECTS = Path(__file__).parent / "projects"
FILE = str(PROJECTS / "sharing.py")
WORD = hashlib.sha256(b"shared").hexdigest()[:8]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def shared(cluster: Cluster) -> Cluster:
    """Everything of `sharing.py` is deployed."""
    cluster.cli("create", "secret", "word", "--value", "shared")
    cluster.cli("deploy", FILE, timeout=120)
    return cluster


def crossing(cluster: Cluster, app: str = "lone") -> tuple[str, str]:
    """The node of the app's only instance, and one that has none."""
    (instance,) = cluster.instances(app)
    home = str(instance["node"])
    return home, next(name for name in cluster.nodes if name != home)


def endpoint(cluster: Cluster, app: str) -> str:
    return str(cluster.json("get", "app", app)["endpoint"])


def test_replicas_are_spread(shared: Cluster) -> None:
    assert shared.spread("spread") == {"n1": 1, "n2": 1, "n3": 1}
    assert sorted(shared.spread("seven").values()) == [2, 2, 3]
    assert sum(shared.spread("lone").values()) == 1


def test_every_node_calls_every_instance(shared: Cluster) -> None:
    url = endpoint(shared, "spread")
    for host in shared.nodes.values():
        answers = [host.request(url) for _ in range(30)]
        assert {status for status, _ in answers} == {200}
        seen = Counter(json.loads(body)["node"] for _, body in answers)
        assert set(seen) == set(shared.nodes), (host.name, seen)


def test_calls_of_every_kind_cross_nodes(shared: Cluster) -> None:
    home, away = crossing(shared)
    url = endpoint(shared, "lone")
    content = random.Random(3).randbytes(3_000_000)
    assert shared.instances("lone")[0]["address"] == "127.0.0.1"
    with shared.nodes[away].namespace.inside(), httpx.Client(trust_env=False) as client:
        assert client.get(url).json() == {"node": home, "word": WORD}
        posted = client.post(f"{url}/body", content=content).json()
        assert posted == {
            "node": home, "size": len(content), "sum": hashlib.sha256(content).hexdigest(),
        }  # fmt: skip
        with client.stream("GET", f"{url}/events") as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            lines = [line for line in answer.iter_lines() if line]
        assert lines == [f"data: {home} {number}" for number in range(5)]
        with connect(f"{url.replace('http', 'ws', 1)}/ws", proxy=None) as socket:
            for word in ("one", "two"):
                socket.send(word)
                assert socket.recv(10) == f"{home} {word}"


def test_the_ingress_works_on_every_node(shared: Cluster) -> None:
    home, _ = crossing(shared)
    for host in shared.nodes.values():
        status, body = host.get("lone")
        assert (status, json.loads(body)["node"]) == (200, home)
        status, page = host.get("nobody")
        assert status == 404
        assert "there is no app `nobody`" in page


def test_an_app_starts_tasks_on_other_nodes(shared: Cluster) -> None:
    home, away = crossing(shared)
    url = endpoint(shared, "lone")
    status, body = shared.nodes[away].request(f"{url}/start?times=9", timeout=60)
    assert status == 200, body
    assert json.loads(body)["node"] == home
    assert set(json.loads(body)["tasks"]) == set(shared.nodes)


def test_tasks_on_every_node_call_an_app_and_tasks(shared: Cluster) -> None:
    home, _ = crossing(shared)
    asked = shared.json("run", "deployed-task", "sharing.asks", "--times", "9")["outputs"]
    assert {app for _, app in asked} == {home}
    assert {task for task, _ in asked} == set(shared.nodes)
    run = shared.json("run", "deployed-task", "sharing.family", "--times", "9")
    assert set(run["outputs"]) == set(shared.nodes)
    tree = shared.json("get", "run", run["name"])
    assert tree["phase"] == "succeeded"
    for name in shared.nodes:  # secrets are there wherever a task is
        told = shared.json("run", "deployed-task", "sharing.told")["outputs"]
        assert told[1] == WORD, name


def test_code_reaches_only_the_nodes_that_need_it(shared: Cluster, tmp_path: Path) -> None:
    file = tmp_path / "only_here.py"
    file.write_text(
        "import fastapi\nfrom callmesh.app.extras import FastAPIAppEnvironment\n"
        "app = fastapi.FastAPI()\n"
        "env = FastAPIAppEnvironment(name='only-here', app=app, requires_auth=False)\n"
    )
    shared.cli("deploy", str(file))
    home, _ = crossing(shared, "only-here")
    held = {
        name: len(list((host.state / "agent" / "bundles").glob("*/only_here.py")))
        for name, host in shared.nodes.items()
    }
    assert held == {name: int(name == home) for name in shared.nodes}


def test_a_large_value_reaches_a_node_once(shared: Cluster) -> None:
    size, times = 15_000_000, 9
    server = shared.server.process("server")
    before = server.io_counters().read_chars
    run = shared.json(
        "run", "deployed-task", "sharing.lengths", "--size", str(size), "--times", str(times)
    )
    read = server.io_counters().read_chars - before
    nodes = {node for node, _ in run["outputs"]}
    assert nodes == set(shared.nodes)
    assert {length for _, length in run["outputs"]} == {size + 3}
    # Uploaded once, then read once for each node; nine readers would be ten times that.
    assert read < (1 + len(nodes) + 1.5) * size


def test_what_no_node_can_take_says_why_of_each(shared: Cluster) -> None:
    started = shared.cli("run", "--detach", FILE, "too_wide").stdout.strip()

    def reasons() -> str:
        said = " ".join(shared.cli("describe", "run", started).stdout.split())
        return said if all(f"node `{name}` has" in said for name in shared.nodes) else ""

    said = shared.eventually(30, "it says why", reasons)
    assert said.count("is asked for") == len(shared.nodes)
    shared.cli("abort", started)


def test_what_must_wait_for_a_slot_says_why_and_then_runs(shared: Cluster) -> None:
    slots = sum(node["capacity"]["slots"] for node in shared.json("get", "nodes"))
    line = ("run", "--detach", "deployed-task")
    wide = ("sharing.family", "--times", str(slots), "--seconds", "15")
    parent = shared.cli(*line, *wide).stdout.strip()
    last = shared.cli(*line, "sharing.where", "--seconds", "0").stdout.strip()
    waiting = " ".join(shared.cli("describe", "run", last).stdout.split())
    for name in shared.nodes:
        assert f"node `{name}` has 4 of 4 slots in use" in waiting
    shared.eventually(
        60,
        "both end",
        lambda: all(
            shared.json("get", "run", name)["phase"] == "succeeded" for name in (parent, last)
        ),
    )
    taken = Counter(shared.json("get", "run", parent)["outputs"][1:])
    assert taken == dict.fromkeys(shared.nodes, 4)


def test_logs_are_read_from_the_server_s_host(shared: Cluster) -> None:
    lines: list[str] = []
    with shared.server.spawn("logs", "-f", "app/spread", stdout=subprocess.PIPE) as follower:
        assert follower.stdout is not None
        stream = follower.stdout
        reader = threading.Thread(target=lambda: lines.extend(stream))
        reader.start()

        def heard() -> bool:
            for host in shared.nodes.values():
                host.request(endpoint(shared, "spread"))
            return all(any(f"called on {name}" in line for line in lines) for name in shared.nodes)

        shared.eventually(30, "lines of every node come", heard)
        follower.send_signal(signal.SIGINT)
        reader.join(20)
    kept = shared.cli("logs", "app/spread").stdout
    assert all(f"called on {name}" in kept for name in shared.nodes)


def test_a_run_is_followed_wherever_it_is(shared: Cluster) -> None:
    # In workers that have executed what wrote nothing.
    shared.cli("run", "deployed-task", "sharing.asks", "--times", "9")
    for _ in shared.nodes:
        line = ("run", "--detach", "deployed-task", "sharing.counted", "--n", "40")
        name = shared.cli(*line).stdout.strip()
        followed = shared.cli("logs", "-f", name).stdout
        numbers = [int(each.split()[-2]) for each in followed.splitlines()]
        assert numbers == list(range(40)), (followed, shared.cli("logs", name).stdout)


@pytest.fixture
def zoned(tmp_path: Path) -> Iterator[Cluster]:
    """Two nodes in the west, one in the east, and `spread` on all three."""
    made = Cluster(tmp_path)
    with made.running(zones=("west", "west", "east"), lease=3):
        made.cli("create", "secret", "word", "--value", "shared")
        made.cli("deploy", FILE, "spread", timeout=120)
        yield made


def callees(cluster: Cluster, caller: str, times: int = 40) -> set[str]:
    """The nodes that answer calls from one."""
    url = endpoint(cluster, "spread")
    answers = [cluster.nodes[caller].request(url) for _ in range(times)]
    assert {status for status, _ in answers} == {200}
    return {json.loads(body)["node"] for _, body in answers}


def test_calls_stay_in_their_zone_while_it_has_an_instance(zoned: Cluster) -> None:
    assert callees(zoned, "n1") == {"n1", "n2"}
    assert callees(zoned, "n2") == {"n1", "n2"}
    assert callees(zoned, "n3") == {"n3"}
    (east,) = [each for each in zoned.instances("spread") if each["node"] == "n3"]
    n3 = zoned.nodes["n3"]
    with n3.namespace.inside(), Load(endpoint(zoned, "spread")) as load:
        zoned.eventually(10, "calls are answered", lambda: len(load.answers) > 20)
        zoned.instance(east["id"], "n3").kill()
        zoned.eventually(
            20,
            "the west answers",
            lambda: '"n1"' in load.answers[-1][1] or '"n2"' in load.answers[-1][1],
        )
        zoned.eventually(30, "and the east again", lambda: '"n3"' in load.answers[-1][1])
    assert not load.misses
    zoned.cli("drain", "n3")
    zoned.eventually(60, "the east is empty", lambda: zoned.spread("spread")["n3"] == 0)
    zoned.eventually(30, "calls go over", lambda: callees(zoned, "n3", 10) <= {"n1", "n2"})
    assert callees(zoned, "n3") == {"n1", "n2"}
