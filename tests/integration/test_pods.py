"""The Kubernetes manifest's pods: they start, join, answer their probes, come back."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator

import pods
import pytest
import sealed
from docpages import CLUSTER, blocks, commands
from mesh import ROOT, eventually
from pods import Cluster, Pod, cluster, spec_of
from sealed import ADDRESSES

pytestmark = pytest.mark.slow

SERVER, AGENT = spec_of("Deployment", "callmesh-server"), spec_of("DaemonSet", "callmesh-agent")
NODE = "ip-10-0-0-2.eu-west-1.compute.internal"
PROBE = SERVER["containers"][0]["livenessProbe"]
EXPORT = ("cat", "/var/lib/callmesh/server/join.token")


def start_server(machine: Cluster) -> Pod:
    server = machine.start("server", SERVER, POD_IP=ADDRESSES[0])
    eventually(60, "the server's startup probe", lambda: server.accepts(ADDRESSES[0], 7434))
    return server


def start_agent(machine: Cluster) -> Pod:
    agent = machine.start("agent", AGENT, POD_IP=ADDRESSES[1], NODE_NAME=NODE, ZONE="eu-west-1a")
    eventually(60, "the agent's startup probe", lambda: agent.accepts(ADDRESSES[1], 7480))
    return agent


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Cluster, Pod, Pod]]:
    sealed.require("tests of the Kubernetes pods")
    with cluster(tmp_path_factory.mktemp("pods")) as machine:
        server = start_server(machine)
        token = server.exec(*EXPORT)
        assert not token.returncode, token.stderr
        machine.create_secret(token.stdout)
        yield machine, server, start_agent(machine)


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


def test_what_guide_and_manifest_tell_to_run_is_run_in_the_pods(
    running: tuple[Cluster, Pod, Pod],
) -> None:
    manifest = (ROOT / "deploy" / "kubernetes" / "callmesh.yaml").read_text()
    guide = [
        command.text
        for block in blocks(ROOT / "docs" / "several-machines.md")
        if block.info == CLUSTER
        for command in commands(block)
    ]
    into_secret = next(each for each in guide if "create secret" in each)
    said = " ".join(line.removeprefix("#").strip() for line in manifest.splitlines()[:10])
    assert into_secret in said
    assert f" {pods.SECRET} --from-file=join.token=/dev/stdin" in into_secret
    for each in guide:
        for kind, name in re.findall(r"\b(deployment|service)/(\S+)", each):
            assert pods.has(kind.title(), name), each
        for file in re.findall(r"-f (\S+)", each):
            assert (ROOT / file).exists()
        inside = re.search(r"exec deployment/callmesh-server -- ([^|]+)", each)
        if inside:
            done = running[1].exec(*inside[1].split())
            assert done.returncode == 0 and done.stdout, each


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
    machine, server, agent = running
    assert server.end() == 0
    assert call(server, agent) == '{"euros":1.04}'
    server = start_server(machine)
    eventually(60, "the node is back", lambda: node(server))
    assert agent.end() == 0
    agent = start_agent(machine)
    eventually(60, "the node is back", lambda: node(server))
    eventually(60, "the app is back", lambda: call(server, agent) == '{"euros":1.04}')
