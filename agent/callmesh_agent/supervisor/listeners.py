"""Ports for workloads: a listening socket to inherit, or a free port to bind."""

from __future__ import annotations

import random
import socket
from pathlib import Path

from callmesh_wire.errors import ExhaustedError

BACKLOG = 2048
PICKED = range(10_000, 20_000)
HELD_SECONDS = 60.0
LOOPBACK = "127.0.0.1"


def listen() -> socket.socket:
    """A TCP socket that listens on an ephemeral port of the loopback address.

    The caller closes it once the process has it: a dead process's port must
    refuse, not queue.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.bind((LOOPBACK, 0))
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


class Ports:
    """Picks free ports, none of them twice within a minute."""

    def __init__(self, source: random.Random) -> None:
        self._random = source
        self._given: dict[int, float] = {}

    def pick(self, now: float) -> int:
        """A port that nobody has bound, outside the kernel's ephemeral range if possible.

        ``now`` is monotonic seconds. Raises `ExhaustedError` when none is free.
        """
        self._given = {p: at for p, at in self._given.items() if now - at < HELD_SECONDS}
        ephemeral = _ephemeral()
        first = self._random.randrange(len(PICKED))
        candidates: list[int] = [*PICKED[first:], *PICKED[:first]]
        outside = [port for port in candidates if port not in ephemeral]
        for port in outside or candidates:
            if port not in self._given and _is_free(port):
                self._given[port] = now
                return port
        raise ExhaustedError(
            f"every port from {PICKED.start} to {PICKED.stop - 1} is taken: "
            "stop what listens there, then try again"
        )


def _ephemeral() -> range:
    try:
        low, high = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()
    except OSError:
        return range(0)
    return range(int(low), int(high) + 1)


def _is_free(port: int) -> bool:
    # Bound on every address, so that a port taken on any of them is refused.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        try:
            probe.bind(("0.0.0.0", port))
        except OSError:
            return False
    return True
