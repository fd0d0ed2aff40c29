"""The doors: token, errors, reflection, health, and the call in this process."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from callmesh_server.api.caller import Caller, CallerKind
from callmesh_server.api.router import Router
from callmesh_server.listen import bind_unix, holder, read_token
from callmesh_server.server import Server
from callmesh_wire.channel import new_server, open_channel
from callmesh_wire.errors import (
    FailedPreconditionError,
    InternalError,
    InvalidArgumentError,
    NotFoundError,
    PermissionDeniedError,
    UnauthenticatedError,
    UnimplementedError,
)
from callmesh_wire.methods import methods
from callmeshpb.v1 import node_pb2, registry_pb2
from callmeshpb.v1 import scheduler_pb2 as pb

GET_SERVER = "SchedulerService/GetServer"
INFO = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
ALPHA_INFO = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"


async def raw_code(channel: grpc.aio.Channel, path: str, **metadata: str) -> grpc.StatusCode:
    try:
        await channel.unary_unary(path)(b"", metadata=tuple(metadata.items()), timeout=5)
    except grpc.aio.AioRpcError as problem:
        return problem.code()
    return grpc.StatusCode.OK


async def reflect(
    channel: grpc.aio.Channel, path: str, token: str, **question: str
) -> reflection_pb2.ServerReflectionResponse:
    call = channel.stream_stream(
        path,
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )(metadata=(("authorization", f"Bearer {token}"),))
    await call.write(reflection_pb2.ServerReflectionRequest(**question))
    answer = await call.read()
    await call.done_writing()
    return answer


class TestToken:
    async def test_nothing_answers_on_tcp_without_the_right_one(self, mesh: Any) -> None:
        channel = mesh.tcp().channel
        paths = [each.path for each in methods().values()]
        paths += [INFO, ALPHA_INFO, "/grpc.health.v1.Health/Check", "/no.such.Service/Method"]
        for path in paths:
            assert await raw_code(channel, path) == grpc.StatusCode.UNAUTHENTICATED, path
        for wrong in ("", "Bearer ", "Bearer 0123", "Basic 0123456789abcdef0123456789abcdef"):
            code = await raw_code(channel, paths[0], authorization=wrong)
            assert code == grpc.StatusCode.UNAUTHENTICATED
        with pytest.raises(UnauthenticatedError, match="the file `token`"):
            await mesh.tcp("wrong").call(GET_SERVER, pb.GetServerRequest())
        await channel.close()

    async def test_with_it_everything_does(self, mesh: Any) -> None:
        client = mesh.tcp()
        assert (await client.call(GET_SERVER, pb.GetServerRequest())).pid == os.getpid()
        await client.channel.close()

    async def test_the_unix_socket_needs_none_and_is_this_users_alone(self, mesh: Any) -> None:
        assert (await mesh.client.call(GET_SERVER, pb.GetServerRequest())).epoch == 1
        assert mesh.settings.api_socket.stat().st_mode & 0o777 == 0o600

    def test_a_token_file_must_be_private_and_there(self, tmp_path: Path) -> None:
        with pytest.raises(FailedPreconditionError, match="does not exist"):
            read_token(tmp_path / "token")
        (tmp_path / "token").write_text("x" * 32)
        (tmp_path / "token").chmod(0o644)
        with pytest.raises(FailedPreconditionError, match="chmod 600"):
            read_token(tmp_path / "token")
        (tmp_path / "token").chmod(0o600)
        assert read_token(tmp_path / "token") == "x" * 32
        (tmp_path / "token").write_text("short")
        with pytest.raises(FailedPreconditionError, match="at least 16"):
            read_token(tmp_path / "token")


class TestBuiltin:
    @pytest.mark.parametrize("path", [INFO, ALPHA_INFO])
    async def test_reflection_lists_and_describes_every_service(self, mesh: Any, path: str) -> None:
        client = mesh.tcp()
        token = client.metadata[0][1].removeprefix("Bearer ")
        listed = await reflect(client.channel, path, token, list_services="*")
        names = {each.name for each in listed.list_services_response.service}
        assert {f"callmeshpb.v1.{m.service}" for m in methods().values()} < names
        assert "grpc.health.v1.Health" in names
        for name in names:
            answer = await reflect(client.channel, path, token, file_containing_symbol=name)
            assert answer.file_descriptor_response.file_descriptor_proto, name
        await client.channel.close()

    async def test_health_says_serving_for_what_is_served(self, mesh: Any) -> None:
        check = mesh.client.channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        for service in ("", "callmeshpb.v1.RegistryService"):
            answer = await check(health_pb2.HealthCheckRequest(service=service))
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await check(health_pb2.HealthCheckRequest(service="nope"))
        assert caught.value.code() == grpc.StatusCode.NOT_FOUND

    async def test_an_unknown_method_is_unimplemented(self, mesh: Any) -> None:
        code = await raw_code(mesh.client.channel, "/callmeshpb.v1.SchedulerService/Nope")
        assert code == grpc.StatusCode.UNIMPLEMENTED


class TestInProcess:
    async def test_unary_and_streams_are_called_alike(self, mesh: Any) -> None:
        caller = Caller(CallerKind.WORKLOAD, node="local", app="web")
        answers = [
            each
            async for each in mesh.server.router.call(GET_SERVER, pb.GetServerRequest(), caller)
        ]
        assert len(answers) == 1

        async def requests() -> AsyncIterator[bytes]:
            yield registry_pb2.WatchRequest(service="web").SerializeToString()

        watch = mesh.server.router.call_bytes("RegistryService/Watch", requests(), caller)
        first = registry_pb2.WatchResponse.FromString(await anext(watch))
        assert not first.exists
        await watch.aclose()

    async def test_errors_keep_their_type(self, mesh: Any) -> None:
        router = mesh.server.router

        async def first(method: str, request: Any) -> Any:
            return await anext(router.call(method, request, Caller()))

        with pytest.raises(NotFoundError):
            await first("SchedulerService/GetApp", pb.GetAppRequest(name="nope"))
        with pytest.raises(UnimplementedError, match="no method `SchedulerService/Nope`"):
            await first("SchedulerService/Nope", pb.GetAppRequest())

        async def garbage() -> AsyncIterator[bytes]:
            yield b"\xff\xff"

        with pytest.raises(InvalidArgumentError, match="is not a GetAppRequest"):
            await anext(router.call_bytes("SchedulerService/GetApp", garbage(), Caller()))

    async def test_a_workload_has_no_session(self, mesh: Any) -> None:
        async def requests() -> AsyncIterator[node_pb2.SessionRequest]:
            yield node_pb2.SessionRequest()

        caller = Caller(CallerKind.WORKLOAD)
        with pytest.raises(PermissionDeniedError):
            await anext(mesh.server.router.call("NodeService/Session", requests(), caller))

    async def test_a_defect_is_internal_and_tells_nothing_of_itself(self) -> None:
        class Broken:
            def __getattr__(self, _name: str) -> Any:
                async def handler(_request: Any, _caller: Caller) -> Any:
                    raise ZeroDivisionError("the password is 1234")

                return handler

        services = {each.service for each in methods().values()}
        router = Router({service: [Broken()] for service in services})
        with pytest.raises(InternalError, match=r"ZeroDivisionError") as caught:
            await anext(router.call(GET_SERVER, pb.GetServerRequest(), Caller()))
        assert "1234" not in caught.value.message


class TestListening:
    async def test_a_taken_port_names_its_holder(self, mesh: Any, tmp_path: Path) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            assert f"process {os.getpid()}" in holder(port)
            settings = type(mesh.settings)(
                state_dir=tmp_path / "other",
                api_socket=tmp_path / "other.sock",
                token_file=mesh.settings.token_file,
                api_port=port,
            )
            with pytest.raises(FailedPreconditionError, match=rf"{port}.*process {os.getpid()}"):
                await Server(settings).run(lambda: None)

    async def test_a_living_servers_socket_is_not_taken(self, mesh: Any) -> None:
        with pytest.raises(FailedPreconditionError, match="another server listens"):
            bind_unix(new_server(), mesh.settings.api_socket)

    async def test_a_dead_servers_socket_is_replaced(self, tmp_path: Path) -> None:
        path = tmp_path / "api.sock"
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(path))
        server = new_server()
        bind_unix(server, path)
        await server.start()
        channel = open_channel(f"unix:{path}")
        assert await raw_code(channel, "/x/y") == grpc.StatusCode.UNIMPLEMENTED
        await channel.close()
        await server.stop(None)

    async def test_a_socket_path_that_is_too_long_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(FailedPreconditionError, match="over 107 bytes"):
            bind_unix(new_server(), tmp_path / ("x" * 100))


async def test_a_watch_ends_when_its_caller_goes(mesh: Any) -> None:
    before = len(asyncio.all_tasks())
    watch = mesh.client.stream("RegistryService/Watch", registry_pb2.WatchRequest(service="web"))
    await anext(watch)
    await watch.aclose()
    async with asyncio.timeout(5):
        while len(asyncio.all_tasks()) > before:
            await asyncio.sleep(0.01)
