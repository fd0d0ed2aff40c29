"""The mesh that the demo runs on: started and ended by the CLI, then searched for leftovers."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from screen import Screen, Wait

ROOT = Path(__file__).resolve().parents[2]
CALLMESH = Path(sys.executable).with_name("callmesh")
API_PORT = 7433
INGRESS_PORT = 7480
_LINGER = 5.0


class DemoProblem(Exception):
    """The demo cannot go on. ``str()`` is the reason."""


@dataclass(frozen=True, slots=True)
class Stage:
    """A mesh with a state folder of its own, apart from any that the user runs."""

    home: Path

    @property
    def state(self) -> Path:
        """The state folder."""
        return self.home / "callmesh" / "default"

    @property
    def environment(self) -> dict[str, str]:
        """For the CLI and the SDK: this mesh and no other."""
        own = {k: v for k, v in os.environ.items() if not k.startswith("CALLMESH_")}
        return own | {"XDG_STATE_HOME": str(self.home), "NO_COLOR": "1", "COLUMNS": "80"}

    def record(self) -> dict[str, Any]:
        """What the running mesh wrote down about itself."""
        found: dict[str, Any] = json.loads((self.state / "up.json").read_text())
        return found

    def cli(self, wait: Wait, *arguments: str) -> str:
        """One `callmesh` command; its output. What it says meanwhile becomes the wait's note."""
        process = subprocess.Popen(
            [CALLMESH, *arguments],
            env=self.environment,
            cwd=ROOT,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            # Ctrl-C is for the demo, which ends its commands itself.
            start_new_session=True,
        )
        told: list[str] = []
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            for line in process.stderr:
                told.append(line.rstrip())
                wait.note = told[-1] or wait.note
            output = process.stdout.read()
            code = process.wait()
        except BaseException:
            process.terminate()
            process.wait()
            raise
        if code:
            reason = "\n".join(told[-12:]) or output.strip() or f"exit code {code}"
            raise DemoProblem(f"`callmesh {' '.join(arguments)}` failed:\n{reason}")
        return output

    def up(self, screen: Screen) -> None:
        """Start the mesh. An earlier demo's that was not ended is ended first."""
        with screen.waiting("starting the mesh") as wait:
            if (self.state / "up.json").exists():
                wait.note = "ending what an earlier demo left"
                self.cli(wait, "down", "--state-dir", str(self.state), "--purge")
            ports = []
            for name, port in (("API", API_PORT), ("ingress", INGRESS_PORT)):
                taken = not is_free(port)
                if taken:
                    screen.say(f"  port {port} is taken: the {name} gets a free one")
                ports.append("0" if taken else str(port))
            options = ["--port", ports[0], "--ingress-port", ports[1]]
            self.cli(wait, "up", "--detach", "--state-dir", str(self.state), *options)

    def down(self, screen: Screen) -> list[str]:
        """End the mesh; what is left of it, which should be nothing."""
        try:
            record = self.record()
        except (OSError, ValueError):
            record = {}
        with screen.waiting("ending the mesh") as wait:
            self.cli(wait, "down", "--state-dir", str(self.state), "--purge")
            left = self._leftovers(record)
        shutil.rmtree(self.home, ignore_errors=True)
        return left

    def _leftovers(self, record: dict[str, Any]) -> list[str]:
        """Processes, ports, sockets and locks, each named; asked for until they are gone."""
        until = time.monotonic() + _LINGER
        while (left := self._look(record)) and time.monotonic() < until:
            time.sleep(0.05)
        return left

    def _look(self, record: dict[str, Any]) -> list[str]:
        left = [f"process {pid}" for pid in _processes(str(self.state), record)]
        for key in ("api_port", "ingress_port"):
            if record and not is_free(record[key]):
                left.append(f"port {record[key]}")
        runtime = Path(record["runtime_dir"]) if record else None
        if runtime is not None and runtime.exists():
            left += [f"socket {path}" for path in runtime.iterdir()]
        if (self.state / "up.lock").exists():
            left.append(f"lock {self.state / 'up.lock'}")
        return left


@contextmanager
def only_demo(home: Path) -> Iterator[None]:
    """Keep a second demo away from this one's mesh. Raises `DemoProblem`."""
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = home / "demo.lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise DemoProblem(
            "a demo is running already: use it, or end it with Ctrl-C in its terminal"
        ) from None
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


def is_free(port: int) -> bool:
    """Whether a server could listen on this loopback port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _processes(state: str, record: dict[str, Any]) -> list[int]:
    """Living processes whose command line or environment names the mesh's folders."""
    marks = [mark.encode() for mark in (state, record.get("runtime_dir")) if mark]
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit() or int(folder.name) == os.getpid():
            continue
        try:
            text = (folder / "cmdline").read_bytes() + (folder / "environ").read_bytes()
        except OSError:
            continue
        if any(mark in text for mark in marks):
            found.append(int(folder.name))
    return found
