"""An app on three nodes is replaced again and again under load."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cluster import Cluster
from load import Load

PROJECTS = Path(__file__).parent / "projects"
pytestmark = pytest.mark.slow


def rolling(folder: Path, version: str, **changes: str) -> str:
    """A file with the app in this version; ``changes`` are of the constants at its head."""
    marks = folder / "marks"
    marks.mkdir(exist_ok=True)
    text = (PROJECTS / "rolling.py").read_text()
    for name, value in {"VERSION": version, "MARKS": str(marks), **changes}.items():
        head, _, rest = text.partition(f"\n{name} = ")
        text = f"{head}\n{name} = {value!r}\n{rest.partition(chr(10))[2]}"
    path = folder / "rolling_app.py"
    path.write_text(text)
    return str(path)


@contextmanager
def asked(cluster: Cluster, node: str, url: str) -> Iterator[Load]:
    """A steady load from a node of the cluster."""
    load = Load(url, callers=2, pause=0.02)
    with cluster.nodes[node].namespace.inside(), load:
        yield load


def test_a_node_whose_agent_is_away_goes_on_calling(tmp_path: Path) -> None:
    """It has the routes to the old instances only, and none of them of its own."""
    with Cluster(tmp_path).running(lease=30) as cluster:
        cluster.cli("deploy", rolling(tmp_path, "one", REPLICAS="2"))
        assert cluster.spread("rolling") == {"n1": 1, "n2": 1, "n3": 0}
        url = cluster.json("get", "app", "rolling")["endpoint"]
        with asked(cluster, "n3", url) as load:
            time.sleep(0.5)
            cluster.nodes["n3"].kill("agent", signal.SIGKILL)
            cluster.eventually(10, "n3 is away", lambda: not is_connected(cluster, "n3"))
            cluster.cli("deploy", rolling(tmp_path, "two", REPLICAS="2"))
            assert set(versions(cluster, url)) == {"two"}
            time.sleep(2)
            cluster.start_agent("n3")
            cluster.eventually(60, "the old ones are gone", lambda: revisions(cluster) == [2, 2])
        assert not load.misses
        assert {text for _, text in load.answers} == {'"one"', '"two"'}


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
