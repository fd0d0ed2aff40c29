"""Network namespaces: the hosts of a test, on one machine.

A namespace is named after the test process that made it. Those of a process
that has died are removed, with everything in them, by the next one that makes
some.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from callmesh_agent.config import secrets_dir

PREFIX = "cmtest"
NAMED = Path("/run/netns")
RUNTIME = Path("/tmp")
_CLONE_NEWNET = 0x40000000
_numbers = itertools.count(1)
_libc = ctypes.CDLL(None, use_errno=True)


def problem() -> str:
    """Why namespaces cannot be made here, or empty."""
    if not shutil.which("ip"):
        return "`ip` (the package iproute2) is not installed"
    if os.geteuid() != 0 or "net_admin" not in _capabilities():
        return "root with CAP_NET_ADMIN and CAP_SYS_ADMIN makes network namespaces"
    return ""


def require() -> None:
    """Skip the test, with the reason, where namespaces cannot be made."""
    if why := problem():
        pytest.skip(f"tests of several nodes: {why}")


def ip(*arguments: str) -> str:
    """Run `ip`; what it printed."""
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    assert not done.returncode, f"ip {' '.join(arguments)}: {done.stderr}"
    return done.stdout


class Namespace:
    """One network namespace, loopback up; `remove` it at the end."""

    def __init__(self, host: str, group: int) -> None:
        self.host = host
        self.name = f"{PREFIX}-{os.getpid()}-{group}-{host}"
        ip("netns", "add", self.name)
        self.path = NAMED / self.name
        self.inode = self.path.stat().st_ino
        ip("-n", self.name, "link", "set", "lo", "up")

    @contextmanager
    def inside(self) -> Iterator[None]:
        """For the block this thread, and what it starts, is on this host's network.

        Sockets, threads and processes that are made in the block stay there.
        """
        with Path("/proc/thread-self/ns/net").open("rb") as back:
            with self.path.open("rb") as there:
                _enter(there.fileno())
            try:
                yield
            finally:
                _enter(back.fileno())

    def processes(self) -> list[psutil.Process]:
        """Every living process of this host, the oldest first."""
        return processes_of(self.inode)

    def remove(self) -> list[str]:
        """Take it away; the processes that were left in it, killed."""
        left = _kill_all(self.inode)
        ip("netns", "delete", self.name)
        return left


def new_group() -> int:
    """A number for namespaces that belong together. Removes what dead processes have left."""
    remove_stale()
    return next(_numbers)


def processes_of(inode: int) -> list[psutil.Process]:
    """Every living process of the namespace with this inode, the oldest first.

    One without a command line has given its memory back: it is ending.
    """
    found = []
    for process in psutil.process_iter():
        with suppress(OSError, psutil.Error):
            here = Path(f"/proc/{process.pid}/ns/net").stat().st_ino == inode
            if here and process.status() != psutil.STATUS_ZOMBIE and process.cmdline():
                found.append(process)
    return sorted(found, key=lambda process: process.create_time())


def remove_runtime(folder: Path) -> None:
    """Remove a host's runtime folder, and the secrets in memory that belong to it."""
    for mesh in folder.glob("callmesh/*"):
        shutil.rmtree(secrets_dir(mesh), ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)


def remove_stale() -> None:
    """Remove the namespaces and runtime folders of test processes that have died."""
    pattern = re.compile(rf"{PREFIX}-(\d+)-")
    for folder in (NAMED, RUNTIME):
        for path in folder.glob(f"{PREFIX}-*") if folder.is_dir() else ():
            found = pattern.match(path.name)
            if not found or psutil.pid_exists(int(found[1])):
                continue
            if folder == NAMED:
                _kill_all(path.stat().st_ino)
                ip("netns", "delete", path.name)
            else:
                remove_runtime(path)


def _kill_all(inode: int) -> list[str]:
    """Kill what is in a namespace until nothing is; what it was."""
    told: dict[int, str] = {}
    deadline = time.monotonic() + 20
    while left := processes_of(inode):
        assert time.monotonic() < deadline, f"cannot be killed: {left}"
        for process in left:
            with suppress(psutil.Error):
                told.setdefault(process.pid, f"{process.pid} {' '.join(process.cmdline())}")
                process.send_signal(signal.SIGKILL)
        time.sleep(0.02)
    return list(told.values())


def _enter(descriptor: int) -> None:
    if _libc.setns(descriptor, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns failed")


def _capabilities() -> set[str]:
    """Of those that matter here, the ones that this process has."""
    status = Path("/proc/self/status").read_text()
    mask = int(re.findall(r"CapEff:\s*(\w+)", status)[0], 16)
    return {name for name, bit in {"net_admin": 12, "sys_admin": 21}.items() if mask >> bit & 1}
