"""Nodes are drained under load: no call is lost, runs end or are handed on."""

from __future__ import annotations

import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from cluster import Cluster
from load import Load, Talk

PROJECTS = Path(__file__).parent / "projects"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(autouse=True)
def _all_in_use(request: pytest.FixtureRequest) -> None:
    """What one test has drained, or left running, is no other's loss."""
    if "cluster" in request.fixturenames:
        found: Cluster = request.getfixturevalue("cluster")
        for run in found.json("get", "runs", "--phase", "running"):
            found.cli("abort", run["name"], check=False)
        for node in found.json("get", "nodes"):
            if node["drain"]:
                found.cli("undrain", node["name"])


@contextmanager
def load_of_every_kind(cluster: Cluster, app: str) -> Iterator[dict[str, Load | Talk]]:
    """GETs and POSTs from every node, slow calls and WebSockets from two of them."""
    endpoint = cluster.json("get", "app", app)["endpoint"]
    with ExitStack() as stack:
        loads: dict[str, Load | Talk] = {}
        for name, host in cluster.nodes.items():
            with host.namespace.inside():
                kinds: dict[str, Load | Talk] = {"GET": Load(endpoint, 2, 0.02, seconds=300)}
                if name != "n1":
                    kinds["POST"] = Load(f"{endpoint}/echo", 1, 0.02, seconds=300, method="POST")
                    kinds["slow"] = Load(f"{endpoint}/slow", 2, seconds=300)
                    kinds["talk"] = Talk(f"{endpoint.replace('http', 'ws')}/ws")
                for kind, load in kinds.items():
                    loads[f"{kind} from {name}"] = stack.enter_context(load)
        time.sleep(1)
        yield loads


def missed(loads: dict[str, Load | Talk]) -> dict[str, list[str]]:
    """What was not answered, by kind."""
    return {kind: [each.why for each in load.misses] for kind, load in loads.items() if load.misses}


def place(cluster: Cluster, app: str) -> str:
    """The node of the app's one instance that takes calls."""
    (instance,) = cluster.instances(app)
    return str(instance["node"])


def state(cluster: Cluster, name: str) -> str:
    """A node's state in one word."""
    return str(cluster.json("get", "node", name)["state"])


def start(cluster: Cluster, task: str, seconds: float) -> str:
    """Submit a run of `pausing.py`; its name."""
    line = ("run", str(PROJECTS / "pausing.py"), task, "--seconds", str(seconds), "--detach")
    return str(cluster.cli(*line).stdout.strip())


def attempts(cluster: Cluster, run: str) -> list[dict[str, Any]]:
    """A run's attempts."""
    found: list[dict[str, Any]] = cluster.json("get", "run", run)["attempts"]
    return found


def wait_running(cluster: Cluster, run: str) -> str:
    """Wait until the run's last attempt runs; its node."""

    def running() -> str:
        found = attempts(cluster, run)
        return found[-1]["node"] if found and found[-1]["phase"] == "running" else ""

    return str(cluster.eventually(60, f"run {run} runs", running))


def test_apps_move_from_node_to_node_without_a_lost_call(cluster: Cluster) -> None:
    cluster.cli("deploy", str(PROJECTS / "steady.py"))
    cluster.cli("deploy", str(PROJECTS / "pair.py"))
    pair = cluster.json("get", "app", "pair")["endpoint"]
    visited = [place(cluster, "steady")]
    with (
        load_of_every_kind(cluster, "steady") as loads,
        cluster.nodes["n1"].namespace.inside(),
        Load(pair, 2, 0.02, seconds=300) as replicas,
    ):
        for _ in range(2):
            drained = cluster.cli("drain", visited[-1], timeout=120)
            assert f"node `{visited[-1]}` is empty" in drained.stderr
            assert "of app `steady`: revision 1 leaves node" in drained.stderr
            assert state(cluster, visited[-1]) == "drained"
            assert not cluster.nodes[visited[-1]].of_kind("app")
            visited.append(place(cluster, "steady"))
            assert visited[-1] != visited[-2]
            cluster.cli("undrain", visited[-2])
            assert state(cluster, visited[-2]) == "ready"
    assert missed(loads) == {}
    assert replicas.misses == []
    for kind, load in loads.items():
        assert load.echoes > 100 if isinstance(load, Talk) else len(load.answers) > 10, kind


def test_a_node_that_hears_late_loses_no_call(cluster: Cluster) -> None:
    """Its Envoy knows the instance that leaves, and nobody else, for four seconds."""
    cluster.cli("deploy", str(PROJECTS / "steady.py"))
    here = place(cluster, "steady")
    late = next(name for name in cluster.nodes if name != here)
    # So that it calls, and is not the place where the app goes.
    cluster.cli("drain", late)
    endpoint = cluster.json("get", "app", "steady")["endpoint"]
    with cluster.nodes[late].namespace.inside(), Load(endpoint, 2, 0.02, seconds=120) as load:
        time.sleep(1)
        agent = cluster.nodes[late].kill("agent", signal.SIGSTOP)
        began = time.monotonic()
        resume = threading.Timer(4, agent.send_signal, [signal.SIGCONT])
        resume.start()
        cluster.cli("drain", here)
        assert time.monotonic() - began > 4
        resume.join()
        time.sleep(1)
    for name in (here, late):
        cluster.cli("undrain", name)
    assert load.misses == []
    assert {answer for _, answer in load.answers[-10:]} == {f'"{place(cluster, "steady")}"'}


def test_a_drain_goes_on_across_a_restart_of_the_server(cluster: Cluster) -> None:
    cluster.cli("deploy", str(PROJECTS / "steady.py"))
    with load_of_every_kind(cluster, "steady") as loads:
        run = start(cluster, "pause", 15)
        node = wait_running(cluster, run)
        draining = cluster.server.spawn("drain", node, stderr=subprocess.PIPE)
        cluster.eventually(20, "it drains", lambda: state(cluster, node) == "draining")
        cluster.server.kill("server")
        time.sleep(2)
        cluster.start_server()
        _, said = draining.communicate(timeout=90)
        assert draining.returncode == 0, said
        assert "reconnecting" in said
        assert f"run `{run}`: attempt 1" in said
        assert state(cluster, node) == "drained"
    cluster.cli("undrain", node)
    assert missed(loads) == {}
    assert [each["phase"] for each in attempts(cluster, run)] == ["succeeded"]


def test_at_the_deadline_runs_are_handed_on_and_apps_without_a_place_end(
    cluster: Cluster,
) -> None:
    others = ["n2", "n3"]
    for name in others:
        cluster.cli("drain", name)
    cluster.cli("deploy", str(PROJECTS / "steady.py"))
    cluster.eventually(60, "all is on `n1`", lambda: place(cluster, "steady") == "n1")
    short = start(cluster, "pause", 15)
    assert wait_running(cluster, short) == "n1"
    long = start(cluster, "parent", 300)
    assert wait_running(cluster, long) == "n1"
    done = cluster.cli("drain", "n1", "--deadline", "20s", check=False)
    assert done.returncode == 1
    assert "and this was ended at the deadline" in done.stderr
    assert "1 instance of app `steady`: revision 1 has to leave node `n1`" in done.stderr
    assert f"run `{long}`" in done.stderr
    assert [each["phase"] for each in attempts(cluster, short)] == ["succeeded"]
    (handed_on,) = attempts(cluster, long)
    assert (handed_on["phase"], handed_on["error"]["type"]) == ("lost", "HandedOn")
    assert "takes no new work: it is draining" in cluster.cli("describe", "app", "steady").stdout
    cluster.cli("undrain", "n2")
    assert wait_running(cluster, long) == "n2"
    assert "HandedOn: node `n1` is drained" in cluster.cli("describe", "run", long).stdout
    cluster.cli("abort", long)
    cluster.eventually(60, "the app has a place", lambda: place(cluster, "steady") == "n2")
    for name in ("n1", "n3"):
        cluster.cli("undrain", name)


def test_a_node_that_does_not_come_back_is_forgotten(own_cluster: Cluster) -> None:
    cluster = own_cluster
    cluster.cli("deploy", str(PROJECTS / "pair.py"))
    refused = cluster.cli("delete", "node", "n3", check=False)
    assert refused.returncode == 1
    assert "node `n3` is connected" in refused.stderr
    cluster.cli("drain", "n3")
    cluster.nodes["n3"].end("agent")
    listed = cluster.cli("get", "nodes")
    assert "node `n3` is drained" in listed.stderr
    assert "`callmesh delete node n3`" in " ".join(listed.stderr.split())
    cluster.cli("delete", "node", "n3")
    assert [node["name"] for node in cluster.json("get", "nodes")] == ["n1", "n2"]
    # One that comes back after all joins as a new node, and ends what it had.
    n2 = cluster.nodes["n2"]
    before = {process.pid for process in n2.of_kind("app")}
    assert before
    n2.kill("agent")
    cluster.eventually(20, "it is away", lambda: state(cluster, "n2") in ("away", "lost"))
    cluster.cli("delete", "node", "n2")
    cluster.eventually(60, "all is on `n1`", lambda: cluster.spread("pair")["n1"] == 2)
    cluster.start_agent("n2")
    cluster.wait_ready("n2")
    cluster.eventually(
        60, "what it had is gone", lambda: not before & {p.pid for p in n2.of_kind("app")}
    )


def test_an_instance_is_called_once_its_nodes_envoy_lets_calls_in(cluster: Cluster) -> None:
    """The Envoy where the app goes stands still for four seconds: no other may count on it."""
    cluster.cli("deploy", str(PROJECTS / "steady.py"))
    here = place(cluster, "steady")
    caller, target = (name for name in cluster.nodes if name != here)
    cluster.cli("drain", caller)
    endpoint = cluster.json("get", "app", "steady")["endpoint"]
    with cluster.nodes[caller].namespace.inside(), Load(endpoint, 2, 0.02, seconds=120) as load:
        time.sleep(1)
        envoy = cluster.nodes[target].kill("envoy", signal.SIGSTOP)
        resume = threading.Timer(4, envoy.send_signal, [signal.SIGCONT])
        resume.start()
        cluster.cli("drain", here)
        resume.join()
        time.sleep(1)
    for name in (here, caller):
        cluster.cli("undrain", name)
    assert load.misses == []
    assert {answer for _, answer in load.answers[-10:]} == {f'"{target}"'}
