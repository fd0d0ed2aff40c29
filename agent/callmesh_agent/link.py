"""The agent's way to the control plane: in memory under `callmesh up`, else gRPC."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from callmeshpb.v1 import node_pb2


@dataclass(frozen=True, slots=True)
class WorkloadIdentity:
    """Who asks: proved by the kernel's peer credentials, never by the workload.

    ``run`` is the run whose attempt the worker executes at the time of the
    call, or "". A standing stream outlives the run that opened it: the agent
    writes the parent into each submission itself. ``authorization`` is what the
    workload shows of the person that it acts for, or "": the server checks it.
    """

    kind: Literal["app", "worker"]
    id: str
    project: str
    domain: str
    app: str = ""
    run: str = ""
    authorization: str = field(default="", repr=False)


class Calls(Protocol):
    """The control plane, as workloads call it."""

    def call(
        self, method: str, requests: AsyncIterator[bytes], caller: WorkloadIdentity
    ) -> AsyncIterator[bytes]:
        """Call "Service/Method" for a workload. Raises `CallmeshError`."""
        ...


class Link(Calls, Protocol):
    """What the agent needs of a server. Every method may be used again after it failed."""

    def session(
        self, outgoing: AsyncIterator[Sequence[node_pb2.AgentMessage]]
    ) -> AsyncIterator[Sequence[node_pb2.ServerMessage]]:
        """The standing session. It ends, or raises `CallmeshError`, when the server is away."""
        ...

    def download(self, digest: str) -> AsyncGenerator[bytes]:
        """A blob's bytes in order, not checked. Raises `CallmeshError`."""
        ...
