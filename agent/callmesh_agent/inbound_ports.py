"""Where other nodes call this one's instances: ports of the node's address, one an instance."""

from __future__ import annotations

import errno
import secrets
import socket
from collections.abc import Mapping

from callmesh_wire.errors import FailedPreconditionError

# Between mesh ports and the ephemeral range.
PORTS = range(30_000, 32_768)
# Instances whose ports are given to nobody else while they are not bound.
KEPT = 1_000


class InboundPorts:
    """The ports by instance, the longest unused first."""

    def __init__(self, address: str) -> None:
        """``address`` is the node's; empty: other nodes cannot call it."""
        self._address = address
        self._given: dict[str, int] = {}

    def remember(self, given: Mapping[str, int]) -> None:
        """Where instances of before were called."""
        self._given.update(given)

    def give(self, instance_id: str) -> int:
        """An instance's port, the same after each of its starts where it is free; 0: it has none.

        Raises `FailedPreconditionError` where all are taken, or the address is not
        this machine's.
        """
        if not self._address:
            return 0
        before = self._given.pop(instance_id, 0)
        # Of those before long ago each is gone, or its listener has the port.
        for oldest in list(self._given)[:-KEPT]:
            del self._given[oldest]
        is_free = before and not _bind_problem(self._address, before)
        port = before if is_free else self._free()
        self._given[instance_id] = port
        return port

    def _free(self) -> int:
        """A port that nobody has."""
        taken = set(self._given.values())
        start = secrets.randbelow(len(PORTS))
        problem = None
        for offset in range(len(PORTS)):
            port = PORTS[(start + offset) % len(PORTS)]
            if port in taken:
                continue
            problem = _bind_problem(self._address, port)
            if problem is None:
                return port
            if problem.errno != errno.EADDRINUSE:
                break
        why = problem.strerror if problem else "all are taken"
        raise FailedPreconditionError(
            f"no port of {PORTS[0]} to {PORTS[-1]} can be had on `{self._address}`, where other "
            f"nodes would call this one ({why}): look at the agent's `--address`"
        )


def _bind_problem(address: str, port: int) -> OSError | None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As Envoy binds: connections of before do not matter.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as problem:
            return problem
    return None
