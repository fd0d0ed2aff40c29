"""Whose a port is: listeners, connections and their processes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from callmesh_agent.sockdiag import ESTABLISHED, LISTEN, tcp_sockets


@dataclass(frozen=True, slots=True)
class Listener:
    """A listening TCP socket of this machine."""

    address: str
    port: int
    inode: int

    @property
    def is_exposed(self) -> bool:
        """Callable from other machines."""
        return not ip_address(self.address).is_loopback

    @property
    def dial(self) -> str:
        """The address under which this machine calls it."""
        return "127.0.0.1" if ip_address(self.address).is_unspecified else self.address


@dataclass(frozen=True, slots=True)
class Holder:
    """The process that has a port; pid 0 where another user's."""

    pid: int
    command: str

    def __str__(self) -> str:
        if not self.pid:
            return "a process of another user"
        return f"process {self.pid} (`{self.command}`)"


class ListenerTable:
    """The listeners of this machine, read once for everybody who asks at about the same time."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._read_at = float("-inf")
        self._found: list[Listener] = []

    def recent(self, max_age: float) -> list[Listener]:
        """What listened at most ``max_age`` seconds ago."""
        now = self._clock()
        if now - self._read_at > max_age:
            self._found = listeners()
            self._read_at = now
        return self._found


def listeners() -> list[Listener]:
    """Every listening TCP socket, IPv4 before IPv6."""
    return [Listener(each.address, each.port, each.inode) for each in tcp_sockets(LISTEN)]


def is_listened_on(port: int) -> bool:
    """Whether anybody listens on a port."""
    return bool(tcp_sockets(LISTEN, port))


def connections(port: int) -> int:
    """Established connections to a local port."""
    return len(tcp_sockets(ESTABLISHED, port))


def process_tree(pid: int) -> set[int]:
    """A process and its living descendants."""
    tree: set[int] = set()
    waiting = [pid]
    while waiting:
        each = waiting.pop()
        if each in tree:
            continue
        tree.add(each)
        waiting += _children(each)
    return tree


def socket_inodes(pids: Iterable[int]) -> set[int]:
    """The sockets that these processes have open; what is not ours to see is left out."""
    return {inode for pid in pids for inode in _sockets_of(pid)}


def own_listeners(pid: int, among: Iterable[Listener]) -> list[Listener]:
    """Those listeners that belong to a process or its descendants."""
    among = list(among)
    if not among:
        return []
    inodes = socket_inodes(process_tree(pid))
    return [each for each in among if each.inode in inodes]


def holder(port: int) -> Holder | None:
    """Who listens on a port of the loopback address, or None."""
    inodes = {each.inode for each in listeners() if each.port == port}
    if not inodes:
        return None
    for name in os.listdir("/proc"):  # noqa: PTH208 - fast
        if name.isdigit() and inodes & _sockets_of(int(name)):
            return Holder(int(name), command_of(int(name)))
    return Holder(0, "")


def command_of(pid: int) -> str:
    """A process's command line in one short line, or ""."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").split(b"\0")
    except OSError:
        return ""
    text = " ".join(os.fsdecode(word) for word in words)
    return text if len(text) <= 80 else f"{text[:79]}…"


def _children(pid: int) -> list[int]:
    found: list[int] = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208 - fast
            text = Path(f"/proc/{pid}/task/{thread}/children").read_text()
            found += [int(each) for each in text.split()]
    except OSError:
        return found
    return found


def _sockets_of(pid: int) -> set[int]:
    folder = f"/proc/{pid}/fd"
    found: set[int] = set()
    try:
        names = os.listdir(folder)  # noqa: PTH208 - fast
    except OSError:
        return found
    for name in names:
        try:
            target = os.readlink(f"{folder}/{name}")  # noqa: PTH115 - fast
        except OSError:
            continue
        if target.startswith("socket:["):
            found.add(int(target[8:-1]))
    return found
