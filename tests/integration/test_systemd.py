"""The systemd units, under a real systemd: start, restart, crash, stop."""

from __future__ import annotations

import json
import resource
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import systemd_host
from mesh import ROOT, eventually
from systemd_host import UNITS, SystemdHost

from callmesh.cli.agent import agent_command
from callmesh.cli.main import cli
from callmesh.cli.server import server_command

TOKEN = "/var/lib/callmesh-server/join.token"
SERVER, AGENT = "callmesh-server.service", "callmesh-agent.service"


def settings(unit: Path) -> dict[str, str]:
    pairs = (line.partition("=") for line in unit.read_text().splitlines())
    return {key: value for key, equals, value in pairs if equals and not key.startswith("#")}


@pytest.mark.parametrize(
    ("unit", "example", "command"),
    [(SERVER, "server.env", server_command), (AGENT, "agent.env", agent_command)],
)
def test_a_unit_starts_what_the_command_line_knows(
    unit: str, example: str, command: click.Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    verb = command.name
    given = shlex.split(settings(UNITS / unit)["ExecStart"])
    assert given[:2] == ["/opt/callmesh/bin/callmesh", verb]
    variable, _, value = (UNITS / example).read_text().splitlines()[-1].partition("=")
    assert given[-1] == f"${variable}"
    options = shlex.split(shlex.split(value)[0])
    # Unknown options and wrong values end the making of a context.
    command.make_context(
        str(verb), [*given[2:-1], *options], parent=cli.make_context("callmesh", [str(verb)])
    )


def start(host: SystemdHost) -> None:
    """A server, a node and an app."""
    host.install()
    host.systemctl("start", SERVER)
    host.run("install", "-m", "600", TOKEN, "/etc/callmesh/join.token")
    host.systemctl("start", AGENT)
    eventually(60, "a node", lambda: nodes(host))
    host.callmesh("deploy", str(ROOT / "examples" / "task_calls_app.py"))


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SystemdHost]:
    systemd_host.require()
    with systemd_host.running(tmp_path_factory.mktemp("systemd")) as booted:
        booted.run("systemd-analyze", "verify", *map(str, UNITS.glob("*.service")))
        start(booted)
        yield booted


def nodes(host: SystemdHost) -> list[str]:
    answer = host.callmesh("get", "nodes", "-o", "json", check=False)
    listed = json.loads(answer) if answer.startswith("[") else []
    return [each["name"] for each in listed if each["connected"]]


def instance(host: SystemdHost) -> tuple[str, int]:
    """The app's one instance, and its process."""
    told = json.loads(host.callmesh("get", "app", "exchange-rates", "-o", "json"))
    (found,) = told["instances"]
    return found["id"], found["pid"]


def call(host: SystemdHost) -> str:
    return host.callmesh("call", "exchange-rates", "/rates/CHF").strip()


def call_here(host: SystemdHost) -> str:
    """What the app answers at the ingress, the server being asked nothing."""
    name = "Host: exchange-rates.localhost:7480"
    return host.run("curl", "-s", "-H", name, "http://127.0.0.1:7480/rates/CHF", check=False)


@pytest.mark.slow
def test_server_and_apps_are_different_users_and_neither_is_root(host: SystemdHost) -> None:
    server = host.owner(host.main_pid(SERVER))
    agents = {host.owner(pid) for pid in host.pids(AGENT)}
    assert len(agents) == 1 and server != "0" and not agents & {"0", server}
    # systemd cannot go beyond what this machine allows its root.
    most = str(min(524288, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    for pid in host.pids(AGENT):
        limits = host.run("cat", f"/proc/{pid}/limits").splitlines()
        assert [line.split()[4] for line in limits if "open files" in line] == [most]
    assert call(host) == '{"euros":1.04}'


@pytest.mark.slow
@pytest.mark.parametrize("how", ["restart", "kill"])
def test_apps_live_through_a_restart_and_a_crash_of_the_agent(host: SystemdHost, how: str) -> None:
    agent, before = host.main_pid(AGENT), instance(host)
    if how == "restart":
        host.systemctl("restart", AGENT)
    else:
        host.systemctl("kill", "--kill-who=main", "--signal=KILL", AGENT)
    assert call(host) == '{"euros":1.04}'
    eventually(30, "another agent", lambda: host.main_pid(AGENT) not in (0, agent))
    eventually(30, "the node is back", lambda: nodes(host))
    assert instance(host) == before
    assert before[1] in host.pids(AGENT)


@pytest.mark.slow
def test_apps_live_through_a_restart_of_the_server(host: SystemdHost) -> None:
    before = instance(host)
    host.systemctl("restart", SERVER)
    eventually(30, "the node is back", lambda: nodes(host))
    assert instance(host) == before
    assert call(host) == '{"euros":1.04}'


@pytest.mark.slow
def test_apps_live_through_another_join_token(host: SystemdHost) -> None:
    before = instance(host)
    old = host.run("cat", TOKEN)
    host.run("rm", TOKEN)
    host.systemctl("restart", SERVER)
    assert host.run("cat", TOKEN) != old
    refused = "is not the one of this node's join token"
    eventually(30, refused, lambda: refused in host.log())
    assert call_here(host) == '{"euros":1.04}'
    host.run("install", "-m", "600", TOKEN, "/etc/callmesh/join.token")
    host.systemctl("restart", AGENT)
    eventually(30, "the node is back", lambda: nodes(host))
    assert instance(host) == before
    assert eventually(30, "a call", lambda: "1.04" in call_here(host))


@pytest.mark.slow
def test_stop_ends_all_of_the_node(host: SystemdHost) -> None:
    host.systemctl("stop", AGENT)
    assert host.pids(AGENT) == []
    assert host.systemctl("show", "--property=Result", "--value", AGENT) == "success"
    assert host.run("ls", "/run/callmesh-agent", check=False).count("No such file")
    host.systemctl("start", AGENT)
    eventually(60, "a node", lambda: nodes(host))
    eventually(
        60,
        "the app is back",
        lambda: "1.04" in host.callmesh("call", "exchange-rates", "/rates/CHF", check=False),
    )


@pytest.mark.slow
def test_a_wrong_option_is_told_and_not_tried_again(host: SystemdHost) -> None:
    environment = Path("/etc/callmesh/agent.env")
    host.systemctl("stop", AGENT)
    host.run("sh", "-c", f"echo 'CALLMESH_AGENT_OPTIONS=--server=nowhere' > {environment}")
    host.systemctl("start", AGENT, check=False)
    eventually(
        30, "it has failed", lambda: host.systemctl("is-failed", AGENT, check=False) == "failed"
    )
    assert "`nowhere` is no HOST:PORT" in host.log()


@pytest.mark.slow
def test_a_shutdown_ends_the_node_in_good_order_and_then_the_server(tmp_path: Path) -> None:
    systemd_host.require()
    logs = {name: tmp_path / f"{name}.log" for name in ("callmesh-agent", "callmesh-server")}
    with systemd_host.running(tmp_path) as machine:
        start(machine)
        machine.systemctl("poweroff", check=False)
        eventually(90, "it is off", lambda: not Path(f"/proc/{machine.init}/cgroup").exists())
    for log in logs.values():
        assert log.read_text().endswith("ending …\n")
    agent, server = (log.stat().st_mtime for log in logs.values())
    assert agent < server
    assert "timed out" not in (tmp_path / "boot.log").read_text()
