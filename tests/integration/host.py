"""One host of a cluster: its processes, folders and commands."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from mesh import CALLMESH, ROOT, command, eventually
from namespaces import RUNTIME, Namespace, remove_runtime
from wires import Wire

from callmesh_agent.config import secrets_dir
from callmesh_up.layout import find

MARKS = {
    "server": ("callmesh_up", "server"),
    "agent": ("callmesh_up", "agent"),
    "supervisor": ("callmesh_agent.supervisor",),
}


@dataclass
class Host:
    """A namespace with a state, a runtime and a temporary folder of its own."""

    namespace: Namespace
    wire: Wire
    home: Path
    variables: dict[str, str] = field(default_factory=dict)
    # What runs it, for a wrong clock: put before each command.
    before: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        # Unix sockets have short paths.
        self.runtime = RUNTIME / self.namespace.name
        self.state = self.home / "state"
        self.temporary = self.home / "tmp"
        for folder in (self.runtime, self.temporary):
            folder.mkdir(parents=True, mode=0o700)

    @property
    def name(self) -> str:
        """Of the host and of its node."""
        return self.namespace.host

    @property
    def address(self) -> str:
        """On the network of the cluster."""
        return self.wire.address

    @property
    def environment(self) -> dict[str, str]:
        """Of every command and process of this host."""
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("CALLMESH_")}
        inherited.pop("PYTHONDONTWRITEBYTECODE", None)
        return inherited | {
            "XDG_STATE_HOME": str(self.home / "elsewhere"),
            "XDG_CONFIG_HOME": str(self.home / "config"),
            "XDG_RUNTIME_DIR": str(self.runtime),
            "CALLMESH_STATE_DIR": str(self.state),
            "TMPDIR": str(self.temporary),
            "UV_CACHE_DIR": str(self.home / "uv"),
            "NO_COLOR": "1",
            "COLUMNS": "80",
            **self.variables,
        }

    @property
    def record(self) -> dict[str, Any]:
        """What `up.json` says."""
        found: dict[str, Any] = json.loads((self.state / "up.json").read_text())
        return found

    def spawn(self, *arguments: str, log: str = "", **options: Any) -> subprocess.Popen[str]:
        """Start a `callmesh` command here and leave it running; its output goes to a log."""
        with self.namespace.inside():
            if not log:
                return subprocess.Popen(
                    self._line(arguments), env=self.environment, text=True, cwd=ROOT, **options
                )
            with (self.home / f"{log}.log").open("a") as file:
                return subprocess.Popen(
                    self._line(arguments),
                    env=self.environment,
                    text=True,
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    cwd=ROOT,
                    start_new_session=True,
                )

    def run(
        self, *line: str | Path, check: bool = True, timeout: float = 90, stdin: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run a command here; with ``check``, its failure fails the test."""
        with self.namespace.inside():
            done = subprocess.run(
                [*self.before, *line],
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
                f"{self.name}: {' '.join(map(str, line))} exited {done.returncode}\n"
                f"--- stdout\n{done.stdout}\n--- stderr\n{done.stderr}\n{self.log()}"
            )
        return done

    def cli(self, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run one `callmesh` command here, as `run` does."""
        return self.run(CALLMESH, *arguments, **options)

    def json(self, *arguments: str) -> Any:
        """A read's answer."""
        return json.loads(self.cli(*arguments, "-o", "json").stdout)

    def python(self, script: Path | str, *arguments: str, timeout: float = 90) -> str:
        """Run a user's script here; what it printed."""
        return self.run(sys.executable, str(script), *arguments, timeout=timeout).stdout

    def get(
        self, app: str, path: str = "/", *, data: bytes | None = None, timeout: float = 10
    ) -> tuple[int, str]:
        """Ask an app through this host's ingress; status and body."""
        return self.request(
            f"http://127.0.0.1:7480{path}",
            data=data,
            timeout=timeout,
            headers={"Host": f"{app}.localhost:7480"},
        )

    def request(
        self,
        url: str,
        *,
        data: bytes | None = None,
        timeout: float = 10,
        headers: dict[str, str] | None = None,
    ) -> tuple[int, str]:
        """GET, or POST with ``data``, from this host; status and body.

        Where nobody answered: 0 and why.
        """
        request = urllib.request.Request(url, data, headers or {})
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with self.namespace.inside():
            try:
                with opener.open(request, timeout=timeout) as answer:
                    return answer.status, answer.read().decode()
            except urllib.error.HTTPError as problem:
                return problem.code, problem.read().decode()
            except OSError as problem:
                return 0, str(problem)

    def processes(self) -> list[psutil.Process]:
        """Every living process here, the oldest first."""
        return self.namespace.processes()

    def of_kind(self, kind: str) -> list[psutil.Process]:
        """The processes of a kind, the oldest first.

        `server`, `agent`, `supervisor`, `envoy`, `zygote`, `app` or `worker`.
        """
        return [process for process in self.processes() if kind_of(process) == kind]

    def process(self, kind: str) -> psutil.Process:
        """The one process of a kind."""
        found = self.of_kind(kind)
        assert len(found) == 1, (self.name, kind, [command(p) for p in self.processes()])
        return found[0]

    def kill(self, kind: str, number: int = signal.SIGKILL) -> psutil.Process:
        """Send a signal to the one process of a kind."""
        process = self.process(kind)
        process.send_signal(number)
        return process

    def end(self, kind: str, number: int = signal.SIGTERM, patience: float = 60) -> None:
        """End the `server` or the `agent`, if it runs, and wait for it."""
        for process in self.of_kind(kind):
            process.send_signal(number)
        eventually(patience, f"the {kind} of {self.name} ends", lambda: not self.of_kind(kind))

    def log(self) -> str:
        """The end of what its server and agent have written."""
        parts = [
            f"--- {path.name} of {self.name}\n{path.read_text(errors='replace')[-4000:]}"
            for path in sorted(self.home.glob("*.log"))
        ]
        return "\n".join(parts)

    def leftovers(self) -> list[str]:
        """What a host that was ended in good order should not have, a little later."""
        deadline = time.monotonic() + 5
        while (found := self._left()) and time.monotonic() < deadline:
            time.sleep(0.1)
        return found

    def _left(self) -> list[str]:
        found = [f"{p.pid} {' '.join(command(p))}" for p in self.processes()]
        secrets = secrets_dir(find(self.state, self.environment).runtime)
        found += [str(secrets)] if secrets.exists() else []
        folders = (self.runtime, self.temporary)
        found += [str(path) for folder in folders for path in folder.rglob("*") if path.is_file()]
        for path in [*self.home.rglob("*"), *self.runtime.rglob("*")]:
            is_draft = path.suffix in {".part", ".draft", ".tmp"} and path.is_file()
            if path.is_socket() or is_draft or path.name in {"up.lock", "up.json"}:
                found.append(str(path))
        return found

    def remove(self) -> None:
        """Take away the folders that are not below the test's own."""
        remove_runtime(self.runtime)

    def _line(self, arguments: tuple[str, ...]) -> list[str | Path]:
        return [*self.before, CALLMESH, *arguments]


def kind_of(process: psutil.Process) -> str:
    """What a process is in the mesh; empty for others."""
    line = command(process)
    for kind, marks in MARKS.items():
        if set(marks) <= set(line[:5]):
            return kind
    title = " ".join(line)
    if title.startswith("callmesh: "):
        return title.split()[1]
    if "callmesh._zygote" in line[:4]:
        return "zygote"
    return "envoy" if line and Path(line[0]).name == "envoy" else ""
