"""The process of a gRPC app: the user's servicers, health and reflection on one port."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import grpc.aio

from callmesh._deadline import ServerDeadlines
from callmesh.app.grpc import Servicer
from callmesh_wire.grpc_services import Services

HOST = "127.0.0.1"
_OPTIONS = [
    ("grpc.so_reuseport", 0),
    # A caller's Envoy and gRPC itself may ask as often as they like.
    ("grpc.http2.min_ping_interval_without_data_ms", 1_000),
]


class _Registry:
    """A server to the generated code: what it adds is kept, with the services' names."""

    def __init__(self, server: grpc.aio.Server) -> None:
        self._server = server
        self.names: list[str] = []

    def add_generic_rpc_handlers(self, handlers: Iterable[Any]) -> None:
        """Add a service's methods."""
        handlers = tuple(handlers)
        self.names += [
            each.service_name() for each in handlers if isinstance(each, grpc.ServiceRpcHandler)
        ]
        self._server.add_generic_rpc_handlers(handlers)

    def add_registered_method_handlers(self, service: str, handlers: dict[str, Any]) -> None:
        """Newer generated code says them twice; the generic ones serve."""


class _Builtin(grpc.GenericRpcHandler):  # type: ignore[type-arg]
    def __init__(self, services: Services) -> None:
        self._table = services.handlers()

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        return self._table.get(handler_call_details.method)


async def serve(
    servicers: Sequence[Servicer],
    port: int,
    max_workers: int,
    grace: float | datetime.timedelta,
) -> None:
    """Serve until cancelled; then calls in flight have ``grace`` (seconds) to end."""
    seconds = grace.total_seconds() if isinstance(grace, datetime.timedelta) else float(grace)
    with ThreadPoolExecutor(max_workers, "grpc") as threads:
        server = grpc.aio.server(threads, interceptors=[ServerDeadlines()], options=_OPTIONS)
        registry = _Registry(server)
        for add, servicer in servicers:
            add(servicer, registry)
        services = Services(registry.names)
        server.add_generic_rpc_handlers((_Builtin(services),))
        server.add_insecure_port(f"{HOST}:{port}")
        await server.start()
        try:
            await asyncio.Event().wait()
        finally:
            services.stop_serving()
            await server.stop(seconds)
