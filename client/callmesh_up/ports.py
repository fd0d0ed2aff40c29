"""The two ports of a mesh: as asked for, or free ones that are kept."""

from __future__ import annotations

import errno
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


def check(
    host: str, port: int, what: str, flags: tuple[str, str], holder: Callable[[int], object]
) -> None:
    """Raise `PortProblem` where nobody could listen there.

    ``flags`` name address and port on the command line.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as problem:
            if problem.errno == errno.EADDRNOTAVAIL:
                raise PortProblem(
                    f"`{host}` is not an address of this machine: name one of its own with "
                    f"{flags[0]}"
                ) from None
            if problem.errno != errno.EADDRINUSE:
                raise PortProblem(
                    f"cannot listen on port {port} of `{host}` for {what}: {problem.strerror}; "
                    f"choose another port with {flags[1]}"
                ) from None
            who = holder(port)
            raise PortProblem(
                f"port {port} of `{host}` for {what} is taken{f' by {who}' if who else ''}: end "
                f"that process, or choose another port with {flags[1]}"
            ) from None


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
