"""The Kubernetes manifest's pods: they start, join, answer their probes, come back."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator

import pytest
import sealed
from mesh import ROOT, eventually
from pods import Cluster, Pod, cluster, spec_of
from sealed import ADDRESSES

pytestmark = pytest.mark.slow

SERVER, AGENT = spec_of("Deployment", "callmesh-server"), spec_of("DaemonSet", "callmesh-agent")
NODE = "ip-10-0-0-2.eu-west-1.compute.internal"
PROBE = SERVER["containers"][0]["livenessProbe"]
EXPORT = ("cat", "/var/lib/callmesh/server/join.token")


def start_server(pods: Cluster) -> Pod:
    server = pods.start("server", SERVER, POD_IP=ADDRESSES[0])
    eventually(60, "the server's startup probe", lambda: server.accepts(ADDRESSES[0], 7434))
    return server


def start_agent(pods: Cluster) -> Pod:
    agent = pods.start("agent", AGENT, POD_IP=ADDRESSES[1], NODE_NAME=NODE, ZONE="eu-west-1a")
    eventually(60, "the agent's startup probe", lambda: agent.accepts(ADDRESSES[1], 7480))
    return agent


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Cluster, Pod, Pod]]:
    sealed.require("tests of the Kubernetes pods")
    with cluster(tmp_path_factory.mktemp("pods")) as pods:
        server = start_server(pods)
        token = server.exec(*EXPORT)
        assert not token.returncode, token.stderr
        pods.create_secret(token.stdout)
        yield pods, server, start_agent(pods)


def node(server: Pod) -> dict[str, str]:
    answer = server.exec("callmesh", "get", "nodes", "-o", "json")
    listed = json.loads(answer.stdout) if not answer.returncode else []
    return next((each for each in listed if each["connected"]), {})


def call(server: Pod, agent: Pod) -> str:
    """What the app answers behind the Service of the ingress."""
    return agent.machine.run(
        "curl", "-s", "-H", "Host: exchange-rates.localhost:7480",
        f"http://{ADDRESSES[1]}:7480/rates/CHF", check=False,
    )  # fmt: skip


def test_the_manifest_says_how_the_token_gets_into_the_secret() -> None:
    written = (ROOT / "deploy" / "kubernetes" / "callmesh.yaml").read_text()
    assert f"exec deployment/callmesh-server -- {' '.join(EXPORT)} |" in written


def test_a_node_joins_and_runs_an_app(running: tuple[Cluster, Pod, Pod]) -> None:
    _, server, agent = running
    found = eventually(60, "a node", lambda: node(server))
    assert (found["name"], found["zone"], found["address"]) == (NODE, "eu-west-1a", ADDRESSES[1])
    done = server.exec("callmesh", "deploy", str(ROOT / "examples" / "task_calls_app.py"))
    assert not done.returncode, done.stderr + agent.log.read_text()
    assert call(server, agent) == '{"euros":1.04}'
    assert agent.main.uids().real == server.main.uids().real == 10001


def test_the_liveness_probe_sees_a_server_that_stands_still(
    running: tuple[Cluster, Pod, Pod],
) -> None:
    _, server, _ = running
    limit = PROBE["timeoutSeconds"]
    assert server.exec(*PROBE["exec"]["command"], timeout=limit).returncode == 0
    server.main.send_signal(signal.SIGSTOP)
    try:
        assert server.exec("timeout", str(limit), *PROBE["exec"]["command"]).returncode != 0
    finally:
        server.main.send_signal(signal.SIGCONT)
    assert server.exec(*PROBE["exec"]["command"], timeout=limit).returncode == 0


def test_pods_come_back_on_their_volumes(running: tuple[Cluster, Pod, Pod]) -> None:
    pods, server, agent = running
    assert server.end() == 0
    assert call(server, agent) == '{"euros":1.04}'
    server = start_server(pods)
    eventually(60, "the node is back", lambda: node(server))
    assert agent.end() == 0
    agent = start_agent(pods)
    eventually(60, "the node is back", lambda: node(server))
    eventually(60, "the app is back", lambda: call(server, agent) == '{"euros":1.04}')
