"""gRPC apps on three nodes, called through `xds:///` by tasks, apps and scripts, and plainly."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cluster import Cluster
from host import Host
from mesh import ROOT

pytestmark = pytest.mark.slow

SOURCES = ROOT / "tests" / "integration" / "projects" / "talk.py"
CALLER = ROOT / "tests" / "integration" / "talk_caller.py"


@pytest.fixture(scope="module")
def talk(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's file; its apps are deployed."""
    folder = tmp_path_factory.mktemp("talk")
    shutil.copytree(ROOT / "examples" / "greetings", folder / "greetings")
    file = Path(shutil.copy(SOURCES, folder))
    cluster.cli("deploy", str(file))
    return file


def run(cluster: Cluster, task: str, **inputs: Any) -> Any:
    values = [
        f"--{name}={value if isinstance(value, str) else json.dumps(value)}"
        for name, value in inputs.items()
    ]
    return json.loads(cluster.cli("run", "deployed-task", task, *values).stdout)


def plain(host: Host, talk: Path, target: str, *what: str) -> Any:
    """A plain gRPC client on a host."""
    return json.loads(host.python(CALLER, str(talk.parent), target, *what))


def endpoint(cluster: Cluster, app: str) -> str:
    return str(cluster.json("get", "app", app)["endpoint"]).removeprefix("http://")


def endpoint_on(host: Host, app: str) -> str:
    """As the node's own file says it, whether the server answers or not."""
    [file] = host.runtime.rglob("endpoints.json")
    return str(json.loads(file.read_text())[app]).removeprefix("http://")


def keep_asking(cluster: Cluster, seconds: float) -> subprocess.Popen[str]:
    """A run that calls `talk` all the time, which has begun."""
    asking = cluster.server.spawn(
        *("run", "deployed-task", "keep_asking", f"--seconds={seconds}"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )

    def runs() -> bool:
        found = cluster.json("get", "runs")
        return any((each["task"], each["phase"]) == ("talks.keep_asking", "running")
                   for each in found)  # fmt: skip

    cluster.eventually(30, "the run has begun", runs)
    return asking


def answered(asking: subprocess.Popen[str]) -> dict[str, int]:
    """How often each instance answered it."""
    said, told = asking.communicate(timeout=60)
    assert asking.returncode == 0, told
    found: dict[str, int] = json.loads(said)
    return found


def test_calls_are_balanced_one_by_one_over_all_nodes(cluster: Cluster, talk: Path) -> None:
    assert sorted(cluster.spread("talk").values()) == [1, 1, 1]
    answers = run(cluster, "ask", name="x", times=60)
    counts = {each: answers.count(each) for each in answers}
    assert len(counts) == 3, counts
    assert min(counts.values()) >= 10, counts


@pytest.mark.parametrize("task", ["converse", "converse_sync"])
def test_all_four_kinds_of_method(cluster: Cluster, talk: Path, task: str) -> None:
    said = run(cluster, task, names=["a", "b"])
    assert said["unary"][0].startswith("talk-1-")
    assert [each.split()[0] for each in said["turns"]] == ["0", "1", "2"]
    # Its method is sync and runs in a thread of its own.
    assert said["together"] == ["grpc a+b"]
    assert [each.split()[0] for each in said["chat"]] == ["a", "b"]
    assert len({each.split()[1] for each in said["chat"]}) == 1


def test_a_deadline_travels_over_the_hops(cluster: Cluster, talk: Path) -> None:
    [remaining] = run(cluster, "ask", name="deadline")
    # The task may run for 20 s, and says nothing of a timeout itself.
    assert 5 < float(remaining) < 21
    target = endpoint(cluster, "relay")
    found = plain(cluster.nodes["n1"], talk, target, "deadline", "--timeout=8")
    relay, callee = found["text"].split()
    assert float(callee) <= float(relay) < 8
    assert float(callee) > 2


def test_metadata_and_errors_pass_unchanged(cluster: Cluster, talk: Path) -> None:
    target = endpoint(cluster, "talk")
    for host in cluster.nodes.values():
        found = plain(host, talk, target, "metadata", "--asked=tea")
        assert (found["text"], found["initial"]["x-answer"]) == ("tea", "tea")
        assert found["trailing"]["x-last"].startswith("talk-1-")
        wrong = plain(host, talk, target, "wrong")
        assert wrong == {"code": "INVALID_ARGUMENT", "details": "wrong name", "reason": "WRONG"}


def test_plain_clients_and_reflection_through_mesh_port_and_ingress(
    cluster: Cluster, talk: Path
) -> None:
    host = cluster.nodes["n2"]
    targets = ((endpoint(cluster, "talk"), ""), ("127.0.0.1:7480", "talk.localhost"))
    for target, authority in targets:
        option = f"--authority={authority}"
        assert plain(host, talk, target, "services", option)["services"] == [
            "greetings.Greeter",
            "grpc.health.v1.Health",
            "grpc.reflection.v1.ServerReflection",
            "grpc.reflection.v1alpha.ServerReflection",
        ]
        assert plain(host, talk, target, "health", option) == {"status": "SERVING"}
        assert plain(host, talk, target, "ada", option)["text"].startswith("talk-1-")


def test_new_instances_are_used_and_old_ones_dropped_without_a_failed_call(
    cluster: Cluster, talk: Path
) -> None:
    before = {each["id"] for each in cluster.instances("talk")}
    asking = keep_asking(cluster, 15)
    for turn in ("1", "2"):
        cluster.server.variables["TURN"] = turn
        cluster.cli("deploy", str(talk), "env")
    answers = answered(asking)
    after = {each["id"] for each in cluster.instances("talk")}
    assert not [each for each in answers if each.startswith("failed")], answers
    assert before & set(answers)
    assert after & set(answers)
    assert after.isdisjoint(before)


def test_calls_go_on_while_the_control_plane_is_away(cluster: Cluster, talk: Path) -> None:
    asking = keep_asking(cluster, 10)
    cluster.server.kill("server")
    target = endpoint_on(cluster.nodes["n3"], "talk")
    for host in cluster.nodes.values():
        assert plain(host, talk, target, "x")["text"].startswith("talk-")
    cluster.start_server()
    cluster.wait_ready(*cluster.nodes)
    answers = answered(asking)
    assert len(answers) == 3, answers
    assert not [each for each in answers if each.startswith("failed")], answers
