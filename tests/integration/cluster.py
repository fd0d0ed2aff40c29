"""A cluster for tests: a server and nodes, each a host of its own, as real processes."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import namespaces
import psutil
from host import Host
from mesh import command, eventually
from wires import Network

SERVER_PORT = 7434
STARTED = 90


class Cluster:
    """Hosts on one network: `server`, and `nodes` by name."""

    def __init__(self, home: Path) -> None:
        """``home`` keeps the folders of every host."""
        namespaces.require()
        self.home = home
        self.network = Network()
        self.nodes: dict[str, Host] = {}
        # What the server, and the agent of each node, were told at their last start.
        self.options: dict[str, Sequence[str]] = {}
        self.server = self._host("server")

    @contextmanager
    def running(
        self, nodes: int = 3, *, zones: Sequence[str] = (), lease: float = 15
    ) -> Iterator[Cluster]:
        """A server and nodes `n1`, `n2`, … for the block; afterwards nothing may be left."""
        try:
            self.start_server("--lease", str(lease))
            for number in range(nodes):
                zone = ("--zone", zones[number]) if zones else ()
                self.add(f"n{number + 1}", *zone)
            self.wait_ready(*self.nodes)
            yield self
            self.end()
        finally:
            left = [told for host in self.hosts for told in host.leftovers()]
            self._remove()
        assert not left, f"left: {left}"

    @property
    def hosts(self) -> list[Host]:
        """All of them, the server's first."""
        return [self.server, *self.nodes.values()]

    def start_server(self, *options: str) -> None:
        """Start the control plane, as at its last start, and wait until it serves."""
        self.options["server"] = options or self.options.get("server", ())
        line = ("server", "--address", self.server.address, *self.options["server"])
        started = self.server.spawn(*line, log="server")
        record = self.server.state / "up.json"
        self.eventually(
            STARTED,
            "the server is up",
            lambda: record.exists() and self.server.record["pid"] == started.pid,
        )

    def host(self, name: str) -> Host:
        """A host with the server's join token, and nothing that runs yet."""
        made = self.nodes[name] = self._host(name)
        token = made.home / "join.token"
        shutil.copy(self.server.state / "join.token", token)
        token.chmod(0o600)
        return made

    def add(self, name: str, *options: str) -> Host:
        """A host that joins as a node; `wait_ready` waits until it has."""
        made = self.host(name)
        self.start_agent(name, *options)
        return made

    def start_agent(self, name: str, *options: str) -> subprocess.Popen[str]:
        """Start the agent of a host, with the options of its last start if there are none."""
        self.options[name] = options or self.options.get(name, ())
        return self.nodes[name].spawn(*self.agent_line(name, *self.options[name]), log="agent")

    def agent_line(self, name: str, *options: str) -> list[str]:
        """The arguments that start a node's agent; those in ``options`` count."""
        host = self.nodes[name]
        usual = {
            "--server": f"{self.server.address}:{SERVER_PORT}",
            "--join-token-file": str(host.home / "join.token"),
            "--name": name,
            "--address": host.address,
            "--state-dir": str(host.state),
        }
        own = [part for key, value in usual.items() if key not in options for part in (key, value)]
        return ["agent", *own, *options]

    def wait_ready(self, *names: str, seconds: float = STARTED) -> None:
        """Wait until these nodes are ready to take work."""

        def ready() -> bool:
            found = {node["name"]: node for node in self.json("get", "nodes")}
            return all(name in found and _is_ready(found[name]) for name in names)

        self.eventually(seconds, f"ready: {names}", ready)

    def eventually(self, seconds: float, what: str, probe: Callable[[], Any]) -> Any:
        """`mesh.eventually`, whose failure shows what the hosts have written."""
        try:
            return eventually(seconds, what, probe)
        except AssertionError as problem:
            raise AssertionError(f"{problem}\n{self.log()}") from None

    def cli(self, *arguments: str, **options: Any) -> Any:
        """Run one `callmesh` command on the server's host."""
        return self.server.cli(*arguments, **options)

    def json(self, *arguments: str) -> Any:
        """A read's answer, on the server's host."""
        return self.server.json(*arguments)

    def instances(self, app: str, state: str = "ready") -> list[dict[str, Any]]:
        """The instances of an app in this state."""
        found: list[dict[str, Any]] = self.json("get", "app", app)["instances"]
        return [each for each in found if each["state"] == state]

    def spread(self, app: str) -> dict[str, int]:
        """How many ready instances of an app each node has."""
        nodes = [instance["node"] for instance in self.instances(app)]
        return {name: nodes.count(name) for name in self.nodes}

    def instance(self, identity: str, node: str) -> psutil.Process:
        """The process of an instance."""
        title = f"callmesh: app {identity}"
        found = [
            p for p in self.nodes[node].of_kind("app") if " ".join(command(p)).strip() == title
        ]
        assert len(found) == 1, (identity, node)
        return found[0]

    def log(self) -> str:
        """The ends of what all hosts have written."""
        return "\n".join(host.log() for host in self.hosts)

    def end(self) -> None:
        """End the agents, then the server, in good order."""
        for host in self.nodes.values():
            host.end("agent")
        self.server.end("server")

    def _host(self, name: str) -> Host:
        namespace = self.network.add(name)
        return Host(namespace, self.network.wires[name], self.home / name)

    def _remove(self) -> None:
        self.network.close()
        for host in self.hosts:
            host.remove()


def _is_ready(node: dict[str, Any]) -> bool:
    states = {each["type"]: each["status"] for each in node["conditions"]}
    return bool(node["connected"]) and states.get("EnvoyReady") == "true"
