"""The two ports of a mesh: as asked for, or free ones that are kept."""

from __future__ import annotations

import socket
from collections.abc import Callable


class PortProblem(Exception):
    """A port that cannot be had. ``str()`` names the port and who holds it."""


def choose(
    asked: int, before: int | None, what: str, flag: str, holder: Callable[[int], object]
) -> int:
    """The port to listen on, on loopback.

    ``asked`` is taken as it is; 0 means the one of the last time, ``before``,
    where it is free, and any free one otherwise. Raises `PortProblem`.
    """
    if asked:
        if not _is_free(asked):
            who = holder(asked)
            raise PortProblem(
                f"port {asked} for {what} is taken{f' by {who}' if who else ''}: "
                f"end that process, or choose another port with {flag} (0: any free one)"
            )
        return asked
    if before and _is_free(before):
        return before
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
