"""A real mesh for tests: started by the CLI, ended and checked for leftovers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[2]
CALLMESH = Path(sys.executable).with_name("callmesh")


@dataclass
class Mesh:
    """One `callmesh up` with a state folder of its own."""

    state: Path
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """For every command: this mesh and no other, plain output."""
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("CALLMESH_")}
        inherited.pop("PYTHONDONTWRITEBYTECODE", None)
        return inherited | {
            "XDG_STATE_HOME": str(self.state.parent.parent),
            "XDG_CONFIG_HOME": str(self.state.parent / "config"),
            "NO_COLOR": "1",
            "COLUMNS": "80",
            **self.variables,
        }

    @property
    def record(self) -> dict[str, Any]:
        """What `up.json` says."""
        found: dict[str, Any] = json.loads((self.state / "up.json").read_text())
        return found

    @property
    def ingress(self) -> str:
        """Base URL of the ingress."""
        return f"http://127.0.0.1:{self.record['ingress_port']}"

    def cli(
        self, *arguments: str, check: bool = True, timeout: float = 90, stdin: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run one `callmesh` command; with ``check``, its failure fails the test."""
        done = subprocess.run(
            [CALLMESH, *arguments],
            env=self.environment,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            cwd=ROOT,
            check=False,
        )
        if check and done.returncode:
            raise AssertionError(
                f"callmesh {' '.join(arguments)} exited {done.returncode}\n"
                f"--- stdout\n{done.stdout}\n--- stderr\n{done.stderr}\n--- log\n{self.log()}"
            )
        return done

    def json(self, *arguments: str) -> Any:
        """A read's answer."""
        return json.loads(self.cli(*arguments, "-o", "json").stdout)

    def spawn(self, *arguments: str, **options: Any) -> subprocess.Popen[str]:
        """Start a command and leave it running; the caller ends it."""
        return subprocess.Popen(
            [CALLMESH, *arguments], env=self.environment, text=True, cwd=ROOT, **options
        )

    def python(self, script: Path | str, *arguments: str, timeout: float = 90) -> str:
        """Run a user's script against this mesh; what it printed."""
        done = subprocess.run(
            [sys.executable, str(script), *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            cwd=ROOT,
            check=False,
        )
        if done.returncode:
            raise AssertionError(
                f"{script} exited {done.returncode}\n{done.stdout}\n{done.stderr}\n{self.log()}"
            )
        return done.stdout

    def get(self, app: str, path: str = "/", timeout: float = 10) -> tuple[int, str]:
        """GET through the ingress; status and body."""
        request = urllib.request.Request(
            f"{self.ingress}{path}",
            headers={"Host": f"{app}.localhost:{self.record['ingress_port']}"},
        )
        try:
            with urllib.request.urlopen(request, timeout=timeout) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as problem:
            return problem.code, problem.read().decode()

    def up(self) -> None:
        """Start it and wait until it is ready."""
        self.cli("up", "--detach", "--port", "0", "--ingress-port", "0")

    def down(self) -> None:
        """End it."""
        self.cli("down")

    def log(self) -> str:
        """The end of what `up` wrote."""
        path = self.state / "up.log"
        return path.read_text(errors="replace")[-4000:] if path.exists() else ""

    def processes(self) -> list[psutil.Process]:
        """Every living process that has to do with this mesh."""
        runtime = self.record["runtime_dir"] if (self.state / "up.json").exists() else "\0"
        return [p for p in psutil.process_iter() if belongs(p, (str(self.state), runtime))]

    def process(self, kind: str) -> psutil.Process:
        """The one process of a kind: "up", "supervisor" or "envoy"."""
        marks = {"up": "callmesh_up", "supervisor": "callmesh_agent.supervisor"}
        found = [
            p
            for p in self.processes()
            if (marks[kind] in command(p)[:4] if kind in marks else name(p) == kind)
        ]
        assert len(found) == 1, (kind, [command(p) for p in self.processes()])
        return found[0]

    @contextmanager
    def running(self) -> Iterator[Mesh]:
        """Up for the block; afterwards nothing of it may be left."""
        self.up()
        runtime = Path(self.record["runtime_dir"])
        marks = (str(self.state), str(runtime))
        try:
            yield self
        finally:
            try:
                self.down()
            finally:
                left = [p for p in psutil.process_iter() if belongs(p, marks)]
                told = [f"{p.pid} {' '.join(command(p))}" for p in left]
                for process in left:
                    with suppress(psutil.NoSuchProcess):
                        process.kill()
        assert not told, f"left running: {told}"
        assert not runtime.exists(), f"left: {list(runtime.iterdir())}"
        assert not (self.state / "up.lock").exists()


def command(process: psutil.Process) -> list[str]:
    """A process's command line; empty for one that has just ended."""
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []


def name(process: psutil.Process) -> str:
    """A process's name; empty for one that has just ended."""
    try:
        return str(process.name())
    except psutil.Error:
        return ""


def belongs(process: psutil.Process, marks: tuple[str, ...]) -> bool:
    """Whether a process has to do with one of these folders."""
    if process.pid == os.getpid():
        return False
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        texts = [*process.cmdline(), process.cwd(), *process.environ().values()]
        texts += [file.path for file in process.open_files()]
    except (psutil.Error, OSError):
        return False
    return "pytest" not in command(process)[:3] and any(
        mark in text for text in texts for mark in marks
    )


def eventually(seconds: float, what: str, probe: Any) -> Any:
    """Ask ``probe`` until it answers something true; its answer."""
    deadline = time.monotonic() + seconds
    while True:
        answer = probe()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.02)
