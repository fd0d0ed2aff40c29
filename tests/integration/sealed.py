"""A machine in the machine: namespaces in which a test may be root of everything.

It has a copy of `/etc`, an empty `/run` and `/var/lib`, processes and a network of
its own, with two addresses. The virtual environment of the tests is its
`/opt/callmesh`.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from mesh import ROOT, eventually

HOST = "worker-1"
ADDRESSES = ("10.0.0.1", "10.0.0.2")
PROGRAMS = ("curl", "hostname", "ip", "nsenter", "setpriv", "unshare")
CALLMESH = "/opt/callmesh/bin/callmesh"


def require(what: str) -> None:
    """Skip the test, with the reason, where namespaces cannot be made."""
    missing = [each for each in PROGRAMS if not shutil.which(each)]
    if missing:
        pytest.skip(f"{what}: `{missing[0]}` is not installed")
    tried = ["unshare", "--mount", "--pid", "--net", "--fork", "true"]
    if os.geteuid() != 0 or subprocess.run(tried, capture_output=True, check=False).returncode:
        pytest.skip(f"{what}: root that may make namespaces")


class Sealed:
    """Where a test runs commands. ``init`` is its first process, as this machine numbers it."""

    def __init__(self, folder: Path, init: int) -> None:
        self.folder = folder
        self.init = init

    def command(self, *command: str) -> list[str]:
        """What runs a command inside."""
        return [
            "nsenter", f"--target={self.init}", "--mount", "--pid", "--cgroup", "--net", "--",
            *command,
        ]  # fmt: skip

    def run(self, *command: str, check: bool = True, **environment: str) -> str:
        """Run a command as root inside; what it printed."""
        done = subprocess.run(
            self.command(*command),
            env={**os.environ, "NO_COLOR": "1", **environment},
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        told = f"{shlex.join(command)}\n{done.stdout}{done.stderr}"
        assert not (check and done.returncode), f"{told}\n{self.log()}"
        return done.stdout + done.stderr

    def log(self) -> str:
        """What the processes inside have said."""
        return "\n".join(
            f"--- {path.name}\n{path.read_text(errors='replace')[-4000:]}"
            for path in sorted(self.folder.glob("*.log"))
        )


@contextmanager
def booted(folder: Path, lines: list[str], init: str, into: str = "") -> Iterator[Sealed]:
    """Namespaces for the block; all in them is killed afterwards.

    ``lines`` of shell are run once it is furnished; the last one becomes ``init``.
    ``into`` is shell that is run before, outside.
    """
    script = folder / "boot.sh"
    script.write_text("\n".join([f"exec > {folder}/boot.log 2>&1", *_furnished(folder), *lines]))
    unshare = "exec unshare --mount --pid --cgroup --net --ipc --uts --fork --kill-child"
    starter = subprocess.Popen(
        ["sh", "-c", f"{into}{unshare} sh -e {script}"], start_new_session=True
    )

    def is_booted() -> Any:
        assert starter.poll() is None, (folder / "boot.log").read_text()
        for child in psutil.Process(starter.pid).children():
            if Path(child.exe()).name == init:
                return Sealed(folder, child.pid)
        return None

    try:
        yield eventually(30, f"{init} runs", is_booted)
    finally:
        starter.kill()
        starter.wait()


def _furnished(folder: Path) -> list[str]:
    return [
        "mount --make-rprivate /",
        "mount -t proc proc /proc",
        f"cp -a /etc {folder}/etc",
        f"mount --bind {folder}/etc /etc",
        *_reachable(folder),
        f"mkdir {folder}/venv",
        f"mount --bind {sys.prefix} {folder}/venv",
        "mount -t tmpfs -o mode=755 tmpfs /opt",
        "mkdir /opt/callmesh",
        f"mount --bind {folder}/venv /opt/callmesh",
        "mount -t tmpfs -o mode=755 tmpfs /run",
        "mount -t tmpfs -o mode=755 tmpfs /var/lib",
        f"hostname {HOST}",
        f"echo {HOST} > /etc/hostname",
        "ip link set lo up",
        *(f"ip address add {each}/32 dev lo" for each in ADDRESSES),
    ]


def _reachable(folder: Path) -> Iterator[str]:
    """Commands that let other users come to the interpreter and the code, whatever is above."""
    paths = {Path(sys.base_prefix), ROOT}
    closed = {
        parent for path in paths for parent in path.parents if not parent.stat().st_mode & 0o001
    }
    tops = {each for each in closed if not closed & set(each.parents)}
    hidden = [path for path in paths if tops & set(path.parents)]
    for number, path in enumerate(hidden):
        yield f"mkdir {folder}/hidden{number}; mount --bind {path} {folder}/hidden{number}"
    for top in tops:
        yield f"mount -t tmpfs -o mode=755 tmpfs {top}"
    for number, path in enumerate(hidden):
        yield f"mkdir -p {path}; mount --bind {folder}/hidden{number} {path}"
