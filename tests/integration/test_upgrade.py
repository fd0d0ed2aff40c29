"""An agent and the server are replaced in place, with everything running and called."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

import pytest
from cluster import Cluster
from load import Load, Talk

PROJECTS = Path(__file__).parent / "projects"
PAUSING = str(PROJECTS / "pausing.py")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def lasting(cluster: Cluster) -> dict[str, set[int]]:
    """By node, the processes that no upgrade may touch."""
    kinds = ("supervisor", "envoy", "app")
    return {
        name: {process.pid for kind in kinds for process in host.of_kind(kind)}
        for name, host in cluster.nodes.items()
    }


def running_on(cluster: Cluster, run: str) -> str:
    """Wait until a run's first attempt runs; its node."""

    def node() -> str:
        found = cluster.json("get", "run", run)["attempts"]
        return found[0]["node"] if found and found[0]["phase"] == "running" else ""

    return str(cluster.eventually(60, "the run runs", node))


def ended(cluster: Cluster, run: str) -> list[str]:
    """Wait until a run has ended; the phases of its attempts."""

    def phases() -> list[str]:
        found = cluster.json("get", "run", run)
        attempts = [str(each["phase"]) for each in found["attempts"]]
        return attempts if found["ended_at"] else []

    return list(cluster.eventually(90, "the run ends", phases))


def test_every_agent_is_upgraded_and_nobody_notices(cluster: Cluster) -> None:
    """HUP, then a new agent, node by node; two seconds between them."""
    cluster.cli("deploy", str(PROJECTS / "steady.py"))
    cluster.cli("deploy", str(PROJECTS / "pair.py"))
    endpoint = cluster.json("get", "app", "steady")["endpoint"]
    pair = cluster.json("get", "app", "pair")["endpoint"]
    run = cluster.cli("run", PAUSING, "pause", "--seconds", "40", "--detach").stdout.strip()
    running_on(cluster, run)
    before = lasting(cluster)
    with (
        cluster.nodes["n2"].namespace.inside(),
        Load(endpoint, 2, 0.02, seconds=300) as get,
        Load(f"{endpoint}/echo", 1, 0.02, seconds=300, method="POST") as post,
        Load(f"{endpoint}/slow", 2, seconds=300) as slow,
        Load(pair, 2, 0.02, seconds=300) as replicas,
        Talk(f"{endpoint.replace('http', 'ws')}/ws") as talk,
    ):
        time.sleep(1)
        for name, host in cluster.nodes.items():
            host.end("agent", signal.SIGHUP)
            assert not host.of_kind("agent")
            time.sleep(2)
            cluster.start_agent(name)
            cluster.wait_ready(name)
        time.sleep(1)
    assert ended(cluster, run) == ["succeeded"]
    assert lasting(cluster) == before
    for load in (get, post, slow, replicas):
        assert load.misses == []
        assert len(load.answers) > 10
    assert talk.misses == []
    assert talk.reopened == 0
    restarts = [each["restarts"] for app in ("steady", "pair") for each in cluster.instances(app)]
    assert restarts == [0, 0, 0]


def test_the_server_is_upgraded_and_clients_get_their_answers(cluster: Cluster) -> None:
    """It is stopped, is away for some seconds, and starts over the same folder."""
    cluster.cli("deploy", str(PROJECTS / "steady.py"))
    endpoint = cluster.json("get", "app", "steady")["endpoint"]
    before = lasting(cluster)
    waiting = [
        cluster.server.spawn(
            "run", PAUSING, "parent" if each > 12 else "pause", "--seconds", str(each),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for each in (6, 14)
    ]  # fmt: skip
    cluster.eventually(
        60,
        "both run",
        lambda: sum(each["phase"] == "running" for each in cluster.json("get", "runs")) >= 2,
    )
    with (
        cluster.nodes["n3"].namespace.inside(),
        Load(endpoint, 2, 0.02, seconds=300) as get,
        Load(f"{endpoint}/slow", 2, seconds=300) as slow,
        Talk(f"{endpoint.replace('http', 'ws')}/ws") as talk,
    ):
        cluster.server.end("server")
        time.sleep(8)
        cluster.start_server()
        cluster.wait_ready(*cluster.nodes)
        for seconds, each in zip((6, 14), waiting, strict=True):
            out, said = each.communicate(timeout=90)
            assert (each.returncode, out.strip()) == (0, f"{float(seconds)}"), said
            assert "reconnecting" in said
    for load in (get, slow):
        assert load.misses == []
    assert talk.misses == []
    assert talk.reopened == 0
    assert lasting(cluster) == before
    phases = {each["phase"] for each in cluster.json("get", "runs")}
    assert phases <= {"succeeded"}


def test_an_agent_starts_over_the_envoy_that_is_left_of_its_node(own_cluster: Cluster) -> None:
    """Agent and supervisor are killed: Envoy lives, and has the ingress' port."""
    cluster, host = own_cluster, own_cluster.nodes["n1"]
    cluster.cli("deploy", str(PROJECTS / "pair.py"))
    for kind in ("agent", "supervisor"):
        host.kill(kind)
    assert host.of_kind("envoy")
    cluster.start_agent("n1")
    cluster.eventually(60, "a supervisor is started", lambda: host.of_kind("supervisor"))
    cluster.wait_ready("n1")
    assert host.of_kind("agent")
    assert host.get("pair")[0] == 200


TICKING = """
import asyncio
import callmesh as flyte

env = flyte.app.AppEnvironment(name="ticking", requires_auth=False)

@env.server
async def serve():
    await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", env.get_port())
    number = 0
    while True:
        print("tick", number, flush=True)
        number += 1
        await asyncio.sleep(0.2)
"""


def test_a_log_is_followed_over_the_replacement_of_server_and_agent(
    own_cluster: Cluster, tmp_path: Path
) -> None:
    cluster = own_cluster
    file = tmp_path / "ticking.py"
    file.write_text(TICKING)
    cluster.cli("deploy", str(file))
    [instance] = cluster.instances("ticking")
    node = cluster.nodes[instance["node"]]
    with (tmp_path / "followed").open("w") as log:
        following = cluster.server.spawn(
            "logs", "-f", "ticking", stdout=log, stderr=subprocess.DEVNULL
        )

    def ticks() -> list[int]:
        lines = (tmp_path / "followed").read_text().splitlines()
        return [int(each.split()[-1]) for each in lines if "tick " in each]

    def more() -> None:
        seen = len(ticks())
        cluster.eventually(60, "more lines", lambda: len(ticks()) > seen + 2)

    try:
        more()
        cluster.server.kill("server")
        cluster.start_server()
        cluster.wait_ready(*cluster.nodes)
        more()
        node.end("agent", signal.SIGHUP)
        cluster.start_agent(node.name)
        cluster.wait_ready(node.name)
        more()
    finally:
        following.kill()
        following.wait()
    found = ticks()
    assert found == list(range(found[0], found[0] + len(found)))
