"""A control plane and one node, each a command of its own on this machine, for tests that kill."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
from mesh import CALLMESH, ROOT, Mesh, belongs, command, eventually

from callmesh_agent.config import secrets_dir
from callmesh_up.layout import Layout, find

NODE = "alone"


class Split:
    """`callmesh server` and `callmesh agent`; `log` has what each of them writes."""

    def __init__(self, folder: Path) -> None:
        self.mesh = Mesh(state=folder / "callmesh" / "default")
        self.layout: Layout = find(folder / "node", self.mesh.environment)
        self._folder = folder
        self._ports = {"--port": _free_port(), "--node-port": _free_port()}
        self._ingress = _free_port()
        self._server: subprocess.Popen[bytes] | None = None
        self._agent: subprocess.Popen[bytes] | None = None

    @property
    def ingress(self) -> str:
        """Base URL of the node's ingress."""
        return f"http://127.0.0.1:{self._ingress}"

    def start_server(self) -> None:
        """Start the control plane and wait until it answers."""
        ports = [text for name, port in self._ports.items() for text in (name, str(port))]
        self._server = self._spawn(
            "server", *ports, "--ingress-port", str(self._ingress), "--lease", "10"
        )
        eventually(30, "the server is up", lambda: "API" in self.log("server"))

    def kill_server(self) -> None:
        """SIGKILL."""
        assert self._server is not None
        self._server.kill()
        self._server.wait()
        (self._folder / "server.log").unlink()

    def start_agent(self, *options: str, until: str = "is up") -> None:
        """Start the node's agent and wait until it says so."""
        (self._folder / "node.log").unlink(missing_ok=True)
        self._agent = self._spawn(
            "agent",
            *("--server", f"127.0.0.1:{self._ports['--node-port']}", "--name", NODE),
            *("--join-token-file", str(self.mesh.state / "join.token")),
            *("--state-dir", str(self.layout.state), "--ingress-port", str(self._ingress)),
            *options,
            log="node",
        )
        eventually(30, f"the node says `{until}`", lambda: until in self.log("node"))

    def kill_agent(self) -> None:
        """SIGKILL; what it started lives."""
        assert self._agent is not None
        self._agent.kill()
        self._agent.wait()

    def end_agent(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Have it end as an operator does."""
        assert self._agent is not None
        self._agent.send_signal(number)
        try:
            self._agent.wait(60)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it does not end: {self.log('node')[-4000:]}") from None

    def cut_power(self) -> None:
        """End the whole node at once, with what a reboot takes away."""
        for _ in range(50):
            processes = self.node_processes()
            if not processes:
                break
            for process in processes:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            psutil.wait_procs(processes, timeout=5)
        if self._agent is not None:
            self._agent.wait()
        assert not self.node_processes()
        shutil.rmtree(self.layout.runtime, ignore_errors=True)
        shutil.rmtree(secrets_dir(self.layout.runtime), ignore_errors=True)

    def node_processes(self) -> list[psutil.Process]:
        """Every living process of the node."""
        marks = (str(self.layout.state), str(self.layout.runtime))
        return [each for each in psutil.process_iter() if belongs(each, marks)]

    def process(self, words: str) -> psutil.Process:
        """The node's one process with these words in its command."""
        found = [each for each in self.node_processes() if words in " ".join(command(each))]
        assert len(found) == 1, (words, [command(each) for each in self.node_processes()])
        return found[0]

    def server_reads(self) -> int:
        """Bytes that the server's process has read so far, from files and elsewhere."""
        assert self._server is not None
        return int(psutil.Process(self._server.pid).io_counters().read_chars)

    @contextmanager
    def client(self, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """A command that runs for the block."""
        running = self.mesh.spawn(*arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            yield running
        finally:
            running.kill()
            running.communicate()

    @contextmanager
    def script(self, file: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """A user's script that runs for the block; it has to end well."""
        running = subprocess.Popen(
            [sys.executable, file, *arguments],
            env=self.mesh.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        try:
            yield running
            assert running.wait(60) == 0
        finally:
            running.kill()
            running.communicate()

    def log(self, which: str) -> str:
        """What a command has written since it started."""
        path = self._folder / f"{which}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    @contextmanager
    def running(self) -> Iterator[Split]:
        """Both are up for the block; afterwards nothing of them may be left."""
        try:
            self.start_server()
            self.start_agent()
            yield self
            self.end_agent()
            assert self._server is not None
            self._server.terminate()
            self._server.wait(60)
            left = [command(each) for each in self.node_processes()]
            assert not left, left
            assert not self.layout.runtime.exists()
        finally:
            self.cut_power()
            if self._server is not None:
                self._server.kill()
                self._server.wait()

    def _spawn(self, verb: str, *arguments: str, log: str = "") -> subprocess.Popen[bytes]:
        with (self._folder / f"{log or verb}.log").open("wb") as output:
            return subprocess.Popen(
                [CALLMESH, verb, *arguments],
                env=self.mesh.environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
            )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
