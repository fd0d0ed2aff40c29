"""A server and three nodes, each a host of its own, start, work and end without a trace."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from cluster import Cluster
from load import Load
from mesh import eventually

PROJECTS = Path(__file__).parent / "projects"
pytestmark = pytest.mark.slow


def test_it_works_and_what_is_killed_comes_back(own_cluster: Cluster) -> None:
    cluster = own_cluster
    cluster.cli("deploy", str(PROJECTS / "pair.py"))
    n1 = cluster.nodes["n1"]
    assert n1.get("front")[0] == 200
    for host in cluster.nodes.values():
        assert [len(host.of_kind(kind)) for kind in ("agent", "supervisor", "envoy")] == [1, 1, 1]
    victim = cluster.instances("pair")[0]
    cluster.instance(victim["id"], victim["node"]).kill()
    cluster.eventually(30, "two instances again", lambda: len(cluster.instances("pair")) == 2)
    envoy = n1.kill("envoy").pid
    cluster.eventually(30, "a new Envoy", lambda: [p.pid for p in n1.of_kind("envoy")] != [envoy])
    cluster.eventually(30, "which serves", lambda: n1.get("front")[0] == 200)
    n1.kill("agent")
    assert n1.get("front")[0] == 200
    cluster.start_agent("n1")
    cluster.wait_ready("n1")
    cluster.server.kill("server")
    assert n1.get("front")[0] == 200
    cluster.start_server()
    cluster.wait_ready("n1", "n2", "n3")
    assert n1.get("front")[0] == 200


def test_a_cut_off_node_is_replaced_and_taken_back(own_cluster: Cluster) -> None:
    cluster = own_cluster
    cluster.cli("deploy", str(PROJECTS / "pair.py"))
    lost = cluster.instances("pair")[0]["node"]
    cluster.nodes[lost].wire.cut()
    cluster.eventually(
        30,
        "its instances run elsewhere",
        lambda: len([i for i in cluster.instances("pair") if i["node"] != lost]) == 2,
    )
    cluster.nodes[lost].wire.heal()
    cluster.wait_ready(lost)
    cluster.eventually(
        30,
        "one of each instance",
        lambda: sum(len(host.of_kind("app")) for host in cluster.nodes.values()) == 3,
    )


def test_load_from_a_host_and_a_stopped_envoy(own_cluster: Cluster) -> None:
    cluster = own_cluster
    cluster.cli("deploy", str(PROJECTS / "pair.py"))
    n2 = cluster.nodes["n2"]
    endpoint = cluster.json("get", "app", "pair")["endpoint"]
    with n2.namespace.inside(), Load(endpoint, callers=2) as load:
        eventually(10, "calls are answered", lambda: len(load.answers) > 50)
        stopped = n2.kill("envoy", signal.SIGSTOP)
        before = len(load.answers)
        stopped.send_signal(signal.SIGCONT)
        eventually(10, "and again", lambda: len(load.answers) > before + 50)
    assert not load.misses
