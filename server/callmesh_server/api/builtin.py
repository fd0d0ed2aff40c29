"""gRPC's own services: reflection (v1 and v1alpha) and health.

Their modules are imported at the first call: a mesh that nobody asks about
itself pays nothing for them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import cache
from typing import Any

import grpc
import grpc.aio
from google.protobuf import descriptor_pb2, descriptor_pool

from callmesh_server.api.router import refuse
from callmesh_wire.errors import NotFoundError
from callmesh_wire.methods import methods

_ALPHA = "grpc.reflection.v1alpha"
_V1 = "grpc.reflection.v1"
_V1_FILE = "grpc/reflection/v1/reflection.proto"
_HEALTH = "grpc.health.v1.Health"


def handlers() -> dict[str, grpc.RpcMethodHandler]:
    """The handlers by path."""
    reflect = grpc.stream_stream_rpc_method_handler(_reflect)
    return {
        f"/{_ALPHA}.ServerReflection/ServerReflectionInfo": reflect,
        f"/{_V1}.ServerReflection/ServerReflectionInfo": reflect,
        f"/{_HEALTH}/Check": grpc.unary_unary_rpc_method_handler(_check),
        f"/{_HEALTH}/Watch": grpc.unary_stream_rpc_method_handler(_watch),
    }


def _our_services() -> set[str]:
    return {f"callmeshpb.v1.{method.service}" for method in methods().values()}


async def _reflect(
    requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext
) -> AsyncIterator[bytes]:
    kind, servicer = await asyncio.to_thread(_reflection)

    async def parsed() -> AsyncIterator[Any]:
        async for payload in requests:
            yield kind.FromString(payload)

    async for response in servicer.ServerReflectionInfo(parsed(), context):
        yield response.SerializeToString()


@cache
def _reflection() -> tuple[Any, Any]:
    """The request's class, and the servicer; both versions have one wire form."""
    from grpc_health.v1 import health_pb2  # noqa: F401  its descriptors are listed
    from grpc_reflection.v1alpha import reflection, reflection_pb2

    pool = descriptor_pool.Default()
    if not _is_known(pool, _V1_FILE):
        pool.AddSerializedFile(_as_v1(reflection_pb2.DESCRIPTOR))
    services = [
        *_our_services(),
        _HEALTH,
        f"{_ALPHA}.ServerReflection",
        f"{_V1}.ServerReflection",
    ]
    return (
        reflection_pb2.ServerReflectionRequest,
        reflection.aio.ReflectionServicer(services, pool=pool),
    )


def _is_known(pool: descriptor_pool.DescriptorPool, path: str) -> bool:
    try:
        pool.FindFileByName(path)
    except KeyError:
        return False
    return True


def _as_v1(alpha: Any) -> bytes:
    """The v1 descriptors: those of v1alpha under the other package's name."""
    proto = descriptor_pb2.FileDescriptorProto()
    alpha.CopyToProto(proto)
    proto.name = _V1_FILE
    proto.package = _V1
    for message in proto.message_type:
        for field in message.field:
            if field.type_name:
                field.type_name = field.type_name.replace(_ALPHA, _V1)
    for service in proto.service:
        for method in service.method:
            method.input_type = method.input_type.replace(_ALPHA, _V1)
            method.output_type = method.output_type.replace(_ALPHA, _V1)
    return bytes(proto.SerializeToString())


async def _check(payload: bytes, context: grpc.aio.ServicerContext) -> bytes:
    health = await asyncio.to_thread(_health)
    service = health.HealthCheckRequest.FromString(payload).service
    if not _is_served(service):
        await refuse(context, NotFoundError(f"there is no service `{service[:200]}`"))
    return _health_response(health, service)


async def _watch(payload: bytes, _context: grpc.aio.ServicerContext) -> AsyncIterator[bytes]:
    """One answer, and then none: a server that changes its mind ends."""
    health = await asyncio.to_thread(_health)
    yield _health_response(health, health.HealthCheckRequest.FromString(payload).service)
    await asyncio.Event().wait()


@cache
def _health() -> Any:
    from grpc_health.v1 import health_pb2

    return health_pb2


def _is_served(service: str) -> bool:
    return service in ("", _HEALTH) or service in _our_services()


def _health_response(health: Any, service: str) -> bytes:
    status = "SERVING" if _is_served(service) else "SERVICE_UNKNOWN"
    return bytes(health.HealthCheckResponse(status=status).SerializeToString())
