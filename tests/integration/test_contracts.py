"""What a client that knows nothing but reflection can do, and may not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)
from mesh import Mesh

PROJECTS = Path(__file__).parent / "projects"
REGISTRY = "callmeshpb.v1.RegistryService"


class WithToken(grpc.UnaryUnaryClientInterceptor, grpc.StreamStreamClientInterceptor,
                grpc.UnaryStreamClientInterceptor):  # fmt: skip
    """Adds the token to every call."""

    def __init__(self, token: str) -> None:
        self._token = token

    def _go(self, proceed: Any, details: Any, request: Any) -> Any:
        return proceed(
            details._replace(metadata=[("authorization", f"Bearer {self._token}")]), request
        )

    intercept_unary_unary = _go
    intercept_stream_stream = _go
    intercept_unary_stream = _go


class Reflected:
    """Calls methods by what the server says of itself; no generated code."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.channel = channel
        self.database = ProtoReflectionDescriptorDatabase(channel)
        self.pool = DescriptorPool(self.database)

    def _method(self, service: str, name: str) -> tuple[Any, Any]:
        found = self.pool.FindServiceByName(service).FindMethodByName(name)
        return GetMessageClass(found.input_type), GetMessageClass(found.output_type)

    def unary(self, service: str, name: str, /, **fields: Any) -> Any:
        request, response = self._method(service, name)
        call = self.channel.unary_unary(
            f"/{service}/{name}",
            request_serializer=request.SerializeToString,
            response_deserializer=response.FromString,
        )
        return call(request(**fields), timeout=10)

    def stream(self, service: str, name: str, /, **fields: Any) -> Any:
        request, response = self._method(service, name)
        call = self.channel.unary_stream(
            f"/{service}/{name}",
            request_serializer=request.SerializeToString,
            response_deserializer=response.FromString,
        )
        return call(request(**fields), timeout=60)


@pytest.fixture
def channel(shared_mesh: Mesh) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(f"127.0.0.1:{shared_mesh.record['api_port']}") as plain:
        yield plain


@pytest.fixture
def reflected(shared_mesh: Mesh, channel: grpc.Channel) -> Reflected:
    token = (shared_mesh.state / "token").read_text().strip()
    return Reflected(grpc.intercept_channel(channel, WithToken(token)))


def test_reflection_lists_every_service(reflected: Reflected) -> None:
    assert set(reflected.database.get_services()) >= {
        f"callmeshpb.v1.{name}Service"
        for name in ("Registry", "Scheduler", "Node", "Blob", "Log", "Secret")
    } | {"grpc.health.v1.Health"}


def test_health_says_serving(reflected: Reflected) -> None:
    answer = reflected.unary("grpc.health.v1.Health", "Check")
    assert answer.status == 1


def test_an_apps_endpoints_are_resolved_and_watched(
    shared_mesh: Mesh, reflected: Reflected, tmp_path: Path
) -> None:
    source = (PROJECTS / "pair.py").read_text()
    file = tmp_path / "watched.py"
    file.write_text(source.replace('"pair"', '"watched"').replace('"front"', '"watcher"'))
    watch = reflected.stream(REGISTRY, "Watch", service="watched")
    assert next(watch).exists is False
    shared_mesh.cli("deploy", str(file))
    seen = next(m for m in watch if len(m.service.endpoints) == 2)
    resolved = reflected.unary(REGISTRY, "Resolve", service="watched").service
    assert {e.instance_id for e in resolved.endpoints} == {
        e.instance_id for e in seen.service.endpoints
    }
    assert resolved.endpoint == shared_mesh.json("get", "app", "watched")["endpoint"]
    shared_mesh.cli("delete", "app", "watcher")
    shared_mesh.cli("delete", "app", "watched")
    assert next(m for m in watch if not m.exists) is not None
    watch.cancel()


@pytest.mark.parametrize(
    ("service", "name"),
    [(REGISTRY, "ListServices"), ("grpc.health.v1.Health", "Check")],
)
def test_without_the_token_nothing_answers(channel: grpc.Channel, service: str, name: str) -> None:
    for metadata in ((), (("authorization", "Bearer wrong"),)):
        with pytest.raises(grpc.RpcError) as refused:
            channel.unary_unary(f"/{service}/{name}")(b"", timeout=10, metadata=metadata)
        assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_without_the_token_reflection_does_not_answer(channel: grpc.Channel) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        ProtoReflectionDescriptorDatabase(channel).get_services()
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
