"""gRPC's own services, health and reflection (v1 and v1alpha), for any server of ours.

Their messages live in a private pool, so that a user's own `grpc_health` or
`grpc_reflection`, of whatever version, is not met, and none is needed.
Sources: grpc/doc/health-checking.md, grpc/doc/server-reflection.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Iterator
from functools import cache
from importlib import resources
from typing import Any

import grpc
import grpc.aio
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

FILE = "grpc_services.binpb"
HEALTH = "grpc.health.v1.Health"
REFLECTIONS = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")
_ALPHA = "grpc.reflection.v1alpha."
_LONGEST = 512


class Services:
    """What a server says of itself: which services it has, and whether it takes calls."""

    def __init__(
        self, names: Collection[str], pool: descriptor_pool.DescriptorPool | None = None
    ) -> None:
        """``names`` are full service names, whose descriptors ``pool`` has (the default one)."""
        self._names = frozenset(names)
        self._pool = pool or descriptor_pool.Default()
        self._serving = True
        self._changed: set[asyncio.Event] = set()

    def handlers(self) -> dict[str, grpc.RpcMethodHandler[Any, Any]]:
        """The handlers by path."""
        reflect = grpc.stream_stream_rpc_method_handler(self._reflect)
        return {
            **{f"/{each}/ServerReflectionInfo": reflect for each in REFLECTIONS},
            f"/{HEALTH}/Check": grpc.unary_unary_rpc_method_handler(self._check),
            f"/{HEALTH}/Watch": grpc.unary_stream_rpc_method_handler(self._watch),
        }

    def stop_serving(self) -> None:
        """Say from now on that no calls are taken."""
        self._serving = False
        for each in self._changed:
            each.set()

    async def _check(self, payload: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
        service = _message("grpc.health.v1.HealthCheckRequest").FromString(payload).service
        if not self._has(service):
            await context.abort(
                grpc.StatusCode.NOT_FOUND, f"there is no service `{service[:_LONGEST]}`"
            )
        return self._health(service)

    async def _watch(
        self, payload: bytes, _context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[bytes]:
        service = _message("grpc.health.v1.HealthCheckRequest").FromString(payload).service
        changed = asyncio.Event()
        self._changed.add(changed)
        try:
            while True:
                yield self._health(service)
                await changed.wait()
                changed.clear()
        finally:
            self._changed.discard(changed)

    def _has(self, service: str) -> bool:
        return service in ("", HEALTH) or service in self._names

    def _health(self, service: str) -> bytes:
        status = "SERVICE_UNKNOWN"
        if self._has(service):
            status = "SERVING" if self._serving else "NOT_SERVING"
        return bytes(
            _message("grpc.health.v1.HealthCheckResponse")(status=status).SerializeToString()
        )

    async def _reflect(
        self, requests: AsyncIterator[bytes], _context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[bytes]:
        async for payload in requests:
            request = _message(_ALPHA + "ServerReflectionRequest").FromString(payload)
            yield self._answer(request).SerializeToString()

    def _answer(self, request: Any) -> Any:
        response = _message(_ALPHA + "ServerReflectionResponse")(
            valid_host=request.host, original_request=request
        )
        try:
            self._fill(response, request)
        except KeyError:
            response.error_response.error_code = grpc.StatusCode.NOT_FOUND.value[0]
            response.error_response.error_message = "there is no such file, symbol or extension"
        return response

    def _fill(self, response: Any, request: Any) -> None:
        kind = request.WhichOneof("message_request")
        asked: Any = getattr(request, kind or "list_services")
        match kind:
            case "file_by_filename":
                self._add_files(response, self._pool.FindFileByName(asked))
            case "file_containing_symbol":
                self._add_files(response, self._file_of(asked))
            case "file_containing_extension":
                message = self._pool.FindMessageTypeByName(asked.containing_type)
                found: Any = self._pool.FindExtensionByNumber(message, asked.extension_number)
                self._add_files(response, found.file)
            case "all_extension_numbers_of_type":
                message = self._pool.FindMessageTypeByName(asked)
                numbers = response.all_extension_numbers_response
                numbers.base_type_name = message.full_name
                for each in self._pool.FindAllExtensions(message):
                    numbers.extension_number.append(each.number)
            case _:
                for name in sorted({*self._names, HEALTH, *REFLECTIONS}):
                    response.list_services_response.service.add(name=name)

    def _file_of(self, symbol: str) -> Any:
        for pool in (self._pool, _own_pool()):
            try:
                return pool.FindFileContainingSymbol(symbol)
            except KeyError:
                continue
        raise KeyError(symbol)

    def _add_files(self, response: Any, file: Any) -> None:
        """A file and all that it imports, so that the caller need not ask again."""
        answer = response.file_descriptor_response
        for each in _with_imports(file):
            answer.file_descriptor_proto.append(each.serialized_pb)


def _with_imports(file: Any) -> Iterator[Any]:
    seen: dict[str, Any] = {}
    waiting = [file]
    while waiting:
        each = waiting.pop()
        if each.name not in seen:
            seen[each.name] = each
            waiting += each.dependencies
    return iter(seen.values())


@cache
def _own_pool() -> descriptor_pool.DescriptorPool:
    files = descriptor_pb2.FileDescriptorSet.FromString(
        resources.files(__package__).joinpath(FILE).read_bytes()
    )
    pool = descriptor_pool.DescriptorPool()
    for file in files.file:
        pool.AddSerializedFile(file.SerializeToString())
        if file.package + "." == _ALPHA:
            pool.AddSerializedFile(_as_v1(file))
    return pool


def _as_v1(alpha: descriptor_pb2.FileDescriptorProto) -> bytes:
    """The v1 reflection service: v1alpha's under the other package's name."""
    text = alpha.SerializeToString()
    proto = descriptor_pb2.FileDescriptorProto.FromString(text)
    proto.name = proto.name.replace("v1alpha", "v1")
    proto.package = proto.package.replace("v1alpha", "v1")
    for message in proto.message_type:
        for field in message.field:
            if field.type_name:
                field.type_name = field.type_name.replace(_ALPHA, "grpc.reflection.v1.")
    for service in proto.service:
        for method in service.method:
            method.input_type = method.input_type.replace(_ALPHA, "grpc.reflection.v1.")
            method.output_type = method.output_type.replace(_ALPHA, "grpc.reflection.v1.")
    return bytes(proto.SerializeToString())


@cache
def _message(name: str) -> Any:
    return message_factory.GetMessageClass(_own_pool().FindMessageTypeByName(name))
