"""Nodes join a mesh over the network, and one that may not is told why."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest
from cluster import Cluster
from host import Host
from mesh import CALLMESH

pytestmark = pytest.mark.slow

SERVER = "10.77.0.1:7434"


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A server, and one node with a zone and labels."""
    cluster = Cluster(tmp_path_factory.mktemp("joining"))
    with cluster.running(0):
        cluster.add("n1", "--zone", "west", "--label", "gpu=none", "--label", "rack=7",
                    "--slots", "3")  # fmt: skip
        cluster.wait_ready("n1")
        yield cluster


@pytest.fixture
def joiner(mesh: Cluster) -> Iterator[Host]:
    """A host that may join, as `n2`; its agent ends with the test."""
    yield from newcomer(mesh, "n2")


@pytest.fixture
def stranger(mesh: Cluster) -> Iterator[Host]:
    """A host that never joins: what is refused it ends its agent."""
    yield from newcomer(mesh, "n3")


def newcomer(mesh: Cluster, name: str) -> Iterator[Host]:
    host = mesh.nodes.get(name) or mesh.host(name)
    token = host.home / "join.token"
    shutil.copy(mesh.server.state / "join.token", token)
    token.chmod(0o600)
    host.before, host.variables = [], {}
    yield host
    host.end("agent")


def refused(mesh: Cluster, host: Host, *options: str, code: int = 1) -> str:
    """What an agent says that may not join, in one line; it has ended by itself."""
    done = host.run(CALLMESH, *mesh.agent_line(host.name, *options), check=False, timeout=60)
    said = " ".join(done.stderr.split())
    assert done.returncode == code, said
    assert said.count("error: ") == 1
    assert "Traceback" not in said
    assert not host.processes()
    return said.partition("error: ")[2]


def test_a_node_says_what_it_is(mesh: Cluster) -> None:
    (node,) = [each for each in mesh.json("get", "nodes") if each["name"] == "n1"]
    capacity = node.pop("capacity")
    assert node["connected"]
    assert (node["address"], node["zone"]) == ("10.77.0.2", "west")
    assert node["labels"] == {"gpu": "none", "rack": "7"}
    assert node["version"] == version("callmesh")
    assert capacity["cpu"] == len(os.sched_getaffinity(0))
    assert capacity["slots"] == 3
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert 0.1 * memory < capacity["memory"] <= memory
    assert mesh.json("get", "node", "n1")["labels"] == {"gpu": "none", "rack": "7"}
    told = mesh.cli("describe", "node", "n1").stdout
    for line in (
        "address    10.77.0.2",
        "zone       west",
        "labels     gpu=none, rack=7",
        f"version    {version('callmesh')}",
        "attempts   0 of at most 3 at once",
    ):
        assert line in told
    row = next(
        line for line in mesh.cli("get", "nodes").stdout.splitlines() if line.startswith("n1")
    )
    assert row.split()[:4] == ["n1", "ready", "west", "10.77.0.2"]


def test_a_node_joins_runs_and_leaves(mesh: Cluster, joiner: Host) -> None:
    mesh.start_agent("n2")
    mesh.wait_ready("n1", "n2")
    joiner.end("agent")
    assert not joiner.processes()
    mesh.eventually(
        30, "n2 is away", lambda: "away" in mesh.cli("get", "node", "n2").stdout.split()
    )


@pytest.mark.parametrize(
    ("content", "mode", "said"),
    [
        (None, 0o600, "does not exist: copy the file `join.token` of the server's state folder"),
        ("whole", 0o644, "can be read by others (mode 644): run `chmod 600 "),
        ("", 0o600, "holds no join token of a mesh: copy"),
        ("hello", 0o600, "holds no join token of a mesh: copy"),
        ("half", 0o600, "holds no join token of a mesh: copy"),
        ("secret", 0o600, "this join token is not the mesh's: copy the file `join.token`"),
    ],
)
def test_a_wrong_token_file_is_refused(
    mesh: Cluster, stranger: Host, content: str | None, mode: int, said: str
) -> None:
    token = stranger.home / "join.token"
    right = token.read_text()
    first, rest = right.split("\n", 1)
    made = {"whole": right, "half": right[:300], "secret": f"{first[:-4]}AAAA\n{rest}"}
    token.unlink()
    if content is not None:
        token.write_text(made.get(content, content))
        token.chmod(mode)
    told = refused(mesh, stranger)
    assert said in told
    assert first.split()[1] not in told


def test_the_token_of_another_mesh_is_refused(
    mesh: Cluster, stranger: Host, tmp_path: Path
) -> None:
    with Cluster(tmp_path).running(0) as other:
        shutil.copy(other.server.state / "join.token", stranger.home / "join.token")
    told = refused(mesh, stranger)
    assert f"the server at `{SERVER}` is not the one of this node's join token: copy" in told


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (("--address", "10.77.0.99"), 1, "`10.77.0.99` is not an address of this machine; calls"),
        (("--address", "10.77.0.2"), 1, "`10.77.0.2` is not an address of this machine; calls"),
        (("--address", ""), 1, "other nodes call this one, with `--address 10.77.0."),
        (("--address", "127.0.0.1"), 1, "nobody else can call this node at `127.0.0.1`: name the"),
        (("--address", "0.0.0.0"), 1, "nobody can call node `n3` at `0.0.0.0`: name one of its"),
        (("--address", "here"), 2, "--address `here` is no IP address"),
        (("--name", "n1"), 1, "another machine at `10.77.0.2` is node `n1`: choose another name"),
        (("--name", "N 1"), 2, "node name `N 1` must be lower-case letters"),
        (("--zone", "W W"), 2, "zone `W W` must be letters, digits, and"),
        (("--label", "gpu"), 2, "`gpu` is no label"),
        (("--server", "10.77.0.1"), 2, "`10.77.0.1` is no HOST:PORT"),
    ],
)
def test_a_wrong_name_or_address_is_refused(
    mesh: Cluster, stranger: Host, options: tuple[str, ...], code: int, said: str
) -> None:
    assert said in refused(mesh, stranger, *options, code=code)


def test_a_second_agent_with_the_address_of_the_first_is_refused(mesh: Cluster) -> None:
    n1 = mesh.nodes["n1"]
    line = mesh.agent_line("n1", "--name", "n9", "--state-dir", str(n1.home / "second"),
                           "--ingress-port", "7999")  # fmt: skip
    done = n1.cli(*line, check=False)
    assert done.returncode == 1
    said = " ".join(done.stderr.split())
    assert "node `n1` has the address `10.77.0.2` already: give node `n9` its own" in said


@pytest.mark.parametrize(("shift", "way"), [("-5m", "behind"), ("+5m", "ahead of")])
def test_a_wrong_clock_is_refused(mesh: Cluster, stranger: Host, shift: str, way: str) -> None:
    if not shutil.which("faketime"):
        pytest.skip("a node with a wrong clock: `faketime` is not installed")
    stranger.before = ["faketime", "-f", shift]
    stranger.variables = {"FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    told = refused(mesh, stranger)
    assert f"the clock of node `n3` is 300 s {way} this server's: set both by a time" in told


def test_a_clock_that_is_half_a_minute_off_joins(mesh: Cluster, joiner: Host) -> None:
    if not shutil.which("faketime"):
        pytest.skip("a node with a wrong clock: `faketime` is not installed")
    joiner.before = ["faketime", "-f", "-30"]
    joiner.variables = {"FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    mesh.start_agent("n2")
    mesh.wait_ready("n2")


NEWER = """
import sys
import callmesh_agent.session
callmesh_agent.session.PROTOCOL_VERSION = 99
from callmesh_up.__main__ import main
sys.exit(main())
"""


def test_an_agent_of_another_protocol_is_refused(mesh: Cluster, stranger: Host) -> None:
    line = mesh.agent_line("n3")
    done = stranger.run(sys.executable, "-c", NEWER, *line, check=False)
    said = " ".join(done.stderr.split())
    assert done.returncode == 1
    assert "node `n3` speaks protocol 99, and this server 1 to 1: install the same" in said


def test_a_server_that_is_not_there_is_waited_for(mesh: Cluster, joiner: Host) -> None:
    log = joiner.home / "agent.log"
    log.unlink(missing_ok=True)
    mesh.server.end("server")
    mesh.start_agent("n2")
    mesh.eventually(
        30,
        "it says so",
        lambda: f"`{SERVER}` does not answer: Connection refused" in log.read_text(),
    )
    time.sleep(3)
    assert log.read_text().count("does not answer") == 1
    assert "is up" not in log.read_text()
    mesh.start_server()
    mesh.wait_ready("n1", "n2")
    mesh.eventually(10, "it says so", lambda: "node `n2` is up" in log.read_text())


def test_an_agent_that_waits_ends_when_it_is_told(mesh: Cluster, stranger: Host) -> None:
    process = stranger.spawn(
        *mesh.agent_line("n3", "--server", "10.77.0.200:7434"), stderr=subprocess.PIPE
    )
    mesh.eventually(30, "it runs", lambda: stranger.of_kind("supervisor"))
    process.terminate()
    _, said = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "is up" not in said
    assert not stranger.processes()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"--node-port": "7500"}, "port 7433 for the API is taken by process "),
        ({"--port": "7500"}, "port 7434 of `10.77.0.1` for nodes is taken by process "),
        ({"--address": "10.77.0.50"}, "`10.77.0.50` is not an address of this machine: name one"),
    ],
)
def test_a_server_that_cannot_listen_says_why(
    mesh: Cluster, tmp_path: Path, options: dict[str, str], said: str
) -> None:
    usual = {"--address": mesh.server.address, "--state-dir": str(tmp_path / "second")}
    line = [part for pair in (usual | options).items() for part in pair]
    done = mesh.server.cli("server", *line, check=False)
    told = " ".join(done.stderr.split())
    assert done.returncode == 1
    assert told.startswith(f"error: {said}")
    assert len(mesh.server.of_kind("server")) == 1


def test_a_name_is_free_again_when_its_node_is_lost(mesh: Cluster, joiner: Host) -> None:
    mesh.start_agent("n2")
    mesh.wait_ready("n2")
    joiner.end("agent")
    shutil.rmtree(joiner.state)  # with the key that proves it

    log = joiner.home / "agent.log"

    def joins() -> bool:
        log.write_text("")
        started = mesh.start_agent("n2")
        mesh.eventually(
            30,
            "it is up, or has ended",
            lambda: "is up" in log.read_text() or started.poll() is not None,
        )
        return "is up" in log.read_text()

    assert not joins()
    assert "another machine at `10.77.0.3` is node `n2`" in " ".join(log.read_text().split())
    mesh.eventually(60, "another machine is n2", joins)
    mesh.wait_ready("n2")
