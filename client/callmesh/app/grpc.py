"""A gRPC service as an app."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from callmesh.app.environment import AppEnvironment
from callmesh.app.types import Port

Servicer = tuple[Callable[[Any, Any], Any], object]


@dataclass(eq=False, kw_only=True)
class GrpcAppEnvironment(AppEnvironment):
    """A gRPC server: pairs of generated ``add_…Servicer_to_server`` and a servicer of yours.

        env = flyte.app.GrpcAppEnvironment(
            name="greeter", servicers=[(add_GreeterServicer_to_server, Greeter())]
        )

    Methods may be sync (they run in up to ``max_workers`` threads) or async.
    gRPC's health and reflection services are on. Its image needs `grpcio` and
    `protobuf`, which every environment of callmesh has.
    """

    servicers: Sequence[Servicer]
    max_workers: int = 32
    port: int | Port = 50051

    def __post_init__(self) -> None:
        super().__post_init__()
        self.servicers = list(self.servicers)
        if not self.servicers:
            raise ValueError(f"app `{self.name}` has no servicers: give it one or more")
        for each in self.servicers:
            if not isinstance(each, tuple) or len(each) != 2 or not callable(each[0]):
                raise TypeError(
                    f"`servicers` of `{self.name}` must be pairs of a generated function, such as "
                    f"`add_GreeterServicer_to_server`, and a servicer, not {each!r}"
                )
        if self.argv:
            raise ValueError(f"app `{self.name}` has servicers: it takes no `args` or `command`")
        if self.max_workers < 1:
            raise ValueError(f"`max_workers` of `{self.name}` must be at least 1")
        self._server = self._serve

    async def _serve(self) -> None:
        from callmesh._grpc_server import serve

        grace = self.timeouts.drain if self.timeouts.drain is not None else 30
        await serve(self.servicers, int(self.get_port()), self.max_workers, grace)
