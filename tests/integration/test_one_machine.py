"""`callmesh server` and `callmesh agent` on one machine, as somebody who tries them."""

from __future__ import annotations

import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from mesh import Mesh, eventually

pytestmark = pytest.mark.slow


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Pair:
    """A server and one node of it."""

    def __init__(self, home: Path) -> None:
        self.mesh = Mesh(state=home / "callmesh" / "default")
        self.node = home / "callmesh" / "node"
        self.log = home / "agent.log"
        self.ports = {name: free_port() for name in ("api", "nodes", "ingress")}
        self.processes: list[subprocess.Popen[str]] = []

    def start_server(self) -> None:
        with (self.node.parent.parent / "server.log").open("a") as output:
            options = [
                f"--port={self.ports['api']}",
                f"--node-port={self.ports['nodes']}",
                f"--ingress-port={self.ports['ingress']}",
            ]
            started = self.mesh.spawn("server", *options, stdout=output, stderr=output)
        self.processes.append(started)
        eventually(30, "a record", lambda: (self.mesh.state / "up.json").exists())

    def agent(self, *more: str) -> list[str]:
        return [
            "agent", f"--server=127.0.0.1:{self.ports['nodes']}",
            f"--join-token-file={self.mesh.state / 'join.token'}",
            f"--ingress-port={self.ports['ingress']}", "--name=worker-1", *more,
        ]  # fmt: skip

    def start_agent(self) -> None:
        with self.log.open("a") as output:
            started = self.mesh.spawn(*self.agent(), stdout=output, stderr=output)
        self.processes.append(started)
        eventually(30, "the node joins", self.is_joined)

    def is_joined(self) -> bool:
        return any(each["connected"] for each in self.mesh.json("get", "nodes"))

    def end(self) -> None:
        self.mesh.cli("down", "--state-dir", str(self.node))
        self.mesh.cli("down")
        for each in self.processes:
            each.wait(30)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    made = Pair(tmp_path_factory.mktemp("pair"))
    try:
        made.start_server()
        made.start_agent()
        yield made
    finally:
        made.end()


def refused(pair: Pair, *arguments: str, code: int = 1) -> str:
    done = pair.mesh.cli(*arguments, check=False, timeout=30)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return " ".join(done.stderr.split())


def test_a_second_agent_is_told_what_is_taken(pair: Pair, tmp_path: Path) -> None:
    said = refused(pair, *pair.agent())
    assert f"a mesh is already running on `{pair.node}`" in said
    other = ["--state-dir", str(tmp_path / "node")]
    said = refused(pair, *pair.agent(*other))
    assert f"port {pair.ports['ingress']} of `127.0.0.1` for browsers is taken by process" in said
    assert "choose another port with --ingress-port" in said
    said = refused(pair, *pair.agent(*other, f"--ingress-port={free_port()}"))
    assert "another machine is node `worker-1`: choose another name with `--name`" in said


def test_a_second_control_plane_is_told_what_is_taken(pair: Pair, tmp_path: Path) -> None:
    for verb in ("server", "up"):
        assert f"a mesh is already running on `{pair.mesh.state}`" in refused(pair, verb)
    other = ["server", "--port=0", "--state-dir", str(tmp_path / "server")]
    said = refused(pair, *other, f"--node-port={pair.ports['nodes']}")
    assert said.startswith(f"error: port {pair.ports['nodes']} of `127.0.0.1` for nodes is taken")
    said = refused(pair, *other, "--address=192.0.2.1")
    assert said.startswith("error: `192.0.2.1` is not an address of this machine")
    assert "cannot both have port 7434" in refused(pair, "server", "--port=7434", code=2)


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--server=nowhere", "`nowhere` is no HOST:PORT"),
        ("--name=A_b", "node name `A_b` must be lower-case"),
        ("--zone=a b", "zone `a b` must be letters"),
        ("--label=gpu", "`gpu` is no label"),
        ("--label==x", "label key `` must be"),
        ("--label=gpu=a b", "value of label `gpu`, `a b` must be"),
        ("--address=here", "--address `here` is no IP address"),
        ("--ingress-address=here", "--ingress-address `here` is no IP address"),
        ("--slots=-1", "-1 is not in the range"),
    ],
)
def test_a_wrong_option_is_told(pair: Pair, option: str, said: str) -> None:
    assert said in refused(pair, *pair.agent(option), code=2)


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--address=192.0.2.1", "`192.0.2.1` is not an address of this machine"),
        ("--ingress-address=192.0.2.1", "`192.0.2.1` is not an address of this machine"),
        ("--join-token-file=/dev/null", "can be read by others"),
        ("--join-token-file=/nowhere", "`/nowhere` does not exist"),
    ],
)
def test_what_does_not_fit_this_machine_is_told(
    pair: Pair, tmp_path: Path, option: str, said: str
) -> None:
    arguments = pair.agent(option, "--state-dir", str(tmp_path / "node"))
    assert said in refused(pair, *arguments)


@pytest.mark.parametrize(
    ("port", "said"),
    [("api", "does not speak TLS: name the server's port for nodes"), ("none", "does not answer")],
)
def test_a_server_that_is_none_is_told_once(
    pair: Pair, tmp_path: Path, port: str, said: str
) -> None:
    number = pair.ports.get(port) or free_port()
    log = tmp_path / "log"
    state = f"--state-dir={tmp_path / 'node'}"
    options = [f"--server=127.0.0.1:{number}", f"--ingress-port={free_port()}", state]
    with log.open("w") as output:
        started = pair.mesh.spawn(*pair.agent(*options), stdout=output, stderr=output)
    try:
        eventually(20, said, lambda: said in log.read_text())
        eventually(20, "it waits", lambda: "waits for the server" in log.read_text())
    finally:
        started.send_signal(signal.SIGTERM)
        assert started.wait(30) == 0
    assert log.read_text().count("no session with the server") == 1
    assert "Handshake failed" not in log.read_text()


def test_doctor_finds_both_well(pair: Pair) -> None:
    for folder in (pair.mesh.state, pair.node):
        done = pair.mesh.cli("doctor", "--state-dir", str(folder), check=False)
        assert "problem  " not in done.stdout, done.stdout


def test_a_restart_of_the_server_is_told_by_the_agent(pair: Pair) -> None:
    pair.mesh.cli("down")
    eventually(30, "the loss", lambda: "no session with the server" in pair.log.read_text())
    pair.start_server()
    told = "the session with the server is open again"
    eventually(30, told, lambda: told in pair.log.read_text())
    eventually(30, "the node is back", pair.is_joined)


def test_purge_deletes_a_nodes_folder(pair: Pair) -> None:
    pair.mesh.cli("down", "--state-dir", str(pair.node))
    pair.mesh.cli("down", "--purge", "--state-dir", str(pair.node))
    assert not pair.node.exists()
