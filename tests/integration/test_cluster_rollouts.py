"""An app on three nodes is replaced again and again while every node calls it."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from callers import Story
from cluster import Cluster
from host import Host
from load import Load

from callmesh_agent.config import secrets_dir
from callmesh_agent.core.state import Limits

HERE = Path(__file__).parent
ROLLOUTS = 100
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def rolling(folder: Path, version: str, **changes: str) -> str:
    """A file with the app in this version; ``changes`` are of the constants at its head."""
    marks = folder / "marks"
    marks.mkdir(exist_ok=True)
    text = (HERE / "projects" / "rolling.py").read_text()
    for name, value in {"VERSION": version, "MARKS": str(marks), **changes}.items():
        text, count = re.subn(rf"(?m)^{name} = .*$", f"{name} = {json.dumps(value)}", text)
        assert count == 1, name
    path = folder / "rolling_app.py"
    path.write_text(text)
    return str(path)


def deploy(cluster: Cluster, folder: Path, version: str, **changes: str) -> Any:
    """Deploy the app in this version; its record."""
    cluster.cli("create", "secret", "word", "--value", "open sesame")
    cluster.cli("deploy", rolling(folder, version, **changes))
    return cluster.json("get", "app", "rolling")


@contextmanager
def every_way(cluster: Cluster, endpoint: str) -> Iterator[dict[str, Story]]:
    """The app is called in every way from every node meanwhile; afterwards by node how it went."""
    callers = {}
    for name, host in cluster.nodes.items():
        line = [sys.executable, str(HERE / "callers.py"), endpoint,
                "http://127.0.0.1:7480", "rolling.localhost:7480", name]  # fmt: skip
        with host.namespace.inside():
            callers[name] = subprocess.Popen(
                line,
                env=host.environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
    told: dict[str, Story] = {}
    try:
        yield told
        for each in callers.values():
            assert each.stdin
            each.stdin.close()
            each.stdin = None
        for name, each in callers.items():
            told[name] = Story(**json.loads(each.communicate(timeout=60)[0]))
    finally:
        for each in callers.values():
            each.kill()


def check_calls(stories: dict[str, Story], marks: Path) -> Counter[str]:
    """Nothing was lost, nothing ran twice; the versions that answered."""
    posted: list[str] = []
    for story in stories.values():
        assert not story.failed
        # Service restart: the client connects again.
        assert set(story.closed) <= {"1012"}
        assert min(story.answered.values()) > 0
        posted += story.posted
    executed = [line for path in marks.iterdir() for line in path.read_text().split()]
    assert sorted(executed) == sorted(posted)
    return sum((Counter(story.versions) for story in stories.values()), Counter())


def check_leftovers(cluster: Cluster, listening: dict[str, int]) -> None:
    """Of every node: one instance, and of the earlier ones nothing but their logs."""
    living = {each["id"] for each in cluster.instances("rolling")}
    for name, host in cluster.nodes.items():
        cluster.eventually(
            60, "the old ones have ended", lambda host=host: len(host.of_kind("app")) == 1
        )
        cluster.eventually(
            40,
            "their ports are closed",
            lambda host=host, name=name: listeners(host) == listening[name],
        )
        assert not [
            path
            for path in [*host.home.rglob("rolling-*"), *host.runtime.rglob("rolling-*")]
            if "logs" not in path.parts and path.stem not in living
        ]
        runtime = next(host.runtime.rglob("endpoints.json")).parent
        kept = [path.name.removeprefix("app-") for path in secrets_dir(runtime).iterdir()]
        assert len(kept) == 1
        assert set(kept) < living


def listeners(host: Host) -> int:
    """How many TCP sockets of a host listen."""
    tables = [host.run("cat", f"/proc/self/net/{name}").stdout for name in ("tcp", "tcp6")]
    return sum(line.split()[3] == "0A" for each in tables for line in each.splitlines()[1:])


def sizes(cluster: Cluster) -> dict[str, float]:
    """Resident megabytes of what lasts, by host and kind."""
    return {
        f"{host.name} {kind}": host.process(kind).memory_info().rss / 1e6
        for host in cluster.hosts
        for kind in (
            ("server",) if host is cluster.server else ("agent", "supervisor", "envoy", "zygote")
        )
    }


def test_a_hundred_rollouts_lose_no_call(cluster: Cluster, tmp_path: Path) -> None:
    app = deploy(cluster, tmp_path, "0")
    listening = {name: listeners(host) for name, host in cluster.nodes.items()}
    with every_way(cluster, app["endpoint"]) as stories:
        began = time.monotonic()
        time.sleep(2)
        before = sizes(cluster)
        done = cluster.server.python(
            HERE / "redeploy.py", str(tmp_path / "rolling_app.py"), "1", str(ROLLOUTS), timeout=500
        )
        time.sleep(2)
        grown = {name: size - before[name] for name, size in sizes(cluster).items()}
        took = time.monotonic() - began
    answered = sum((Counter(each.answered) for each in stories.values()), Counter())
    print(
        f"{ROLLOUTS} rollouts in {took:.0f} s, {answered.total() / took:.0f} answers/s: {answered}"
    )
    rollouts = [json.loads(line) for line in done.splitlines()]
    assert [each["version"] for each in rollouts] == [*range(1, ROLLOUTS + 1)]
    assert all(sorted(each["nodes"]) == ["n1", "n2", "n3"] for each in rollouts)
    versions = check_calls(stories, tmp_path / "marks")
    assert len(versions) > ROLLOUTS * 0.9
    check_leftovers(cluster, listening)
    assert max(grown.values()) < 15, grown


BROKEN = {
    "does not import": "cannot find the flux capacitor",
    "crashes after its start": "signal 9 (SIGKILL)",
    "is never ready": "not ready within 2 s",
    "binds no port": "not ready within 2 s",
}


def test_broken_revisions_never_replace_one_that_works(cluster: Cluster, tmp_path: Path) -> None:
    app = deploy(cluster, tmp_path, "whole")
    listening = {name: listeners(host) for name, host in cluster.nodes.items()}
    serving = {each["id"] for each in app["instances"] if each["state"] == "ready"}
    with every_way(cluster, app["endpoint"]) as stories:
        for number in range(10):
            behaviour = list(BROKEN)[number % len(BROKEN)]
            file = rolling(tmp_path, f"broken {number}", BEHAVIOUR=behaviour, STARTUP="2")
            told = cluster.cli("deploy", file, check=False)
            assert told.returncode == 1, told
            assert BROKEN[behaviour] in told.stderr
            app = cluster.json("get", "app", "rolling")
            assert app["state"] == "failed"
            assert BROKEN[behaviour] in json.dumps(app["conditions"])
            ready = {each["id"] for each in app["instances"] if each["state"] == "ready"}
            assert ready == serving
        deploy(cluster, tmp_path, "mended")
        time.sleep(2)
    versions = check_calls(stories, tmp_path / "marks")
    assert set(versions) == {"whole", "mended"}
    check_leftovers(cluster, listening)


def test_a_node_whose_agent_is_away_goes_on_calling(tmp_path: Path) -> None:
    """It has the routes to the old instances only, and none of them of its own."""
    with Cluster(tmp_path / "cluster").running(lease=30) as cluster:
        url = deploy(cluster, tmp_path, "one", REPLICAS="2")["endpoint"]
        assert cluster.spread("rolling") == {"n1": 1, "n2": 1, "n3": 0}
        with asked(cluster, "n3", url) as load:
            time.sleep(0.5)
            cluster.nodes["n3"].kill("agent", signal.SIGKILL)
            cluster.eventually(30, "n3 is away", lambda: not is_connected(cluster, "n3"))
            began = time.monotonic()
            deploy(cluster, tmp_path, "two", REPLICAS="2")
            assert set(versions(cluster, url)) == {"two"}
            time.sleep(2)
            cluster.start_agent("n3")
            cluster.eventually(90, "the old ones are gone", lambda: revisions(cluster) == [2, 2])
            cluster.eventually(
                60,
                "n3 has heard",
                lambda: cluster.nodes["n3"].request(url) == (200, '"two"'),
            )
            time.sleep(0.5)
        # Nobody is waited for without end: on a slow machine the agent may be too late.
        assert not [miss for miss in load.misses if miss.at < began + Limits().yielding]
        assert {text for _, text in load.answers} == {'"one"', '"two"'}


@contextmanager
def asked(cluster: Cluster, node: str, url: str) -> Iterator[Load]:
    """A steady load from a node of the cluster."""
    load = Load(url, callers=2, pause=0.02, seconds=300)
    with cluster.nodes[node].namespace.inside(), load:
        yield load


def is_connected(cluster: Cluster, node: str) -> bool:
    """Whether the agent of a node has a session."""
    [found] = [each for each in cluster.json("get", "nodes") if each["name"] == node]
    return bool(found["connected"])


def versions(cluster: Cluster, url: str) -> list[str]:
    """What the app answers on the other nodes."""
    return [json.loads(cluster.nodes[name].request(url)[1]) for name in ("n1", "n2")]


def revisions(cluster: Cluster) -> list[int]:
    """Of all instances that there are."""
    found = cluster.json("get", "app", "rolling")["instances"]
    return sorted(int(each["id"].split("-")[1]) for each in found)
