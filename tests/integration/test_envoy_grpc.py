"""gRPC apps: real `xds:///` clients and plain ones, one greeter, one ADS server."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import grpc.aio
import pytest
from envoy_rig import NODE, App, Rig, rig

from callmesh_agent.xds.ads import client_bootstrap
from callmeshpb.v1 import common_pb2

CALLER = Path(__file__).with_name("grpc_caller.py")


@contextlib.asynccontextmanager
async def greeter(name: str) -> AsyncIterator[int]:
    """A grpc.aio server that says its name; gives its port."""

    async def greet(request: bytes, _: object) -> bytes:
        return name.encode() + b" " + request

    server = grpc.aio.server()
    handler = grpc.unary_unary_rpc_method_handler(greet)
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("greeter.Greeter", {"Greet": handler}),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(None)


class Caller:
    """A client process that makes a call for every line."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def call(self, text: str) -> str:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(f"{text}\n".encode())
        return (await self._process.stdout.readline()).decode().strip()


@contextlib.asynccontextmanager
async def caller(mesh: Rig, target: str, kind: str) -> AsyncIterator[Caller]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(CALLER),
        target,
        kind,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={
            **os.environ,
            "GRPC_XDS_BOOTSTRAP_CONFIG": client_bootstrap(mesh.ads_socket, NODE, ""),
        },
    )
    try:
        yield Caller(process)
    finally:
        process.kill()
        await process.wait()


@pytest.mark.parametrize("kind", ["sync", "aio"])
async def test_xds_client_calls_every_instance_and_follows_changes(kind: str) -> None:
    async with rig() as mesh, greeter("one") as one, greeter("two") as two:
        app = App("greet", instances={"g-1": one}, protocol=common_pb2.PROTOCOL_GRPC)
        await mesh.start_ads()
        mesh.publish(app)
        async with caller(mesh, "xds:///greet", kind) as client:
            assert await client.call("a") == "one a"
            app.instances = {"g-1": one, "g-2": two}
            mesh.publish()
            async with asyncio.timeout(2):
                while await client.call("b") != "two b":
                    pass
            assert {await client.call("c") for _ in range(6)} == {"one c", "two c"}
            times = []
            for round_ in range(10):
                port, name = ((one, "one"), (two, "two"))[round_ % 2]
                app.instances = {f"g-{name}": port}
                began = time.perf_counter()
                mesh.publish()
                async with asyncio.timeout(2):
                    while await client.call("d") != f"{name} d":
                        pass
                times.append((time.perf_counter() - began) * 1000)
            print(f"\n{kind}: endpoint change to first call on it: {sorted(times)[5]:.1f} ms")
            await mesh.stop_ads()
            assert [await client.call("e") for _ in range(5)] == ["two e"] * 5
            await mesh.start_ads()
            app.instances = {}
            mesh.publish()
            async with asyncio.timeout(10):
                while not (answer := await client.call("f")).startswith("UNAVAILABLE"):
                    assert answer == "two f"
        assert mesh.rejected == []


async def test_plain_grpc_client_calls_the_mesh_port() -> None:
    async with rig() as mesh, greeter("one") as one, greeter("two") as two:
        app = App("greet", instances={"g-1": one, "g-2": two}, protocol=common_pb2.PROTOCOL_GRPC)
        empty = App("empty", protocol=common_pb2.PROTOCOL_GRPC)
        await mesh.start(app, empty)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{app.mesh_port}") as channel:
            greet = channel.unary_unary("/greeter.Greeter/Greet")
            answers = {(await greet(b"x", wait_for_ready=True, timeout=5)) for _ in range(8)}
            assert answers == {b"one x", b"two x"}
        async with grpc.aio.insecure_channel(f"127.0.0.1:{empty.mesh_port}") as channel:
            greet = channel.unary_unary("/greeter.Greeter/Greet")
            with pytest.raises(grpc.aio.AioRpcError) as problem:
                await greet(b"x", wait_for_ready=True, timeout=5)
            assert problem.value.code() is grpc.StatusCode.UNAVAILABLE
            assert "no instance of app `empty` is ready" in (problem.value.details() or "")
