"""Which host names a mesh port answers: a web page whose name points here is none of them."""

from __future__ import annotations

import asyncio

import grpc
import httpx
import pytest
import websockets
from envoy_rig import App, Rig, rig, until_200
from test_envoy_grpc import greeter

from callmeshpb.v1 import common_pb2


async def served(mesh: Rig) -> App:
    app = App(
        "shop",
        instances={"shop-1": await mesh.upstream("shop-1")},
        options={"custom_domain": "shop.example.com"},
    )
    await mesh.start(app)
    await until_200(app.url)
    return app


async def test_names_of_this_machine_and_of_the_app_are_answered() -> None:
    async with rig() as mesh, httpx.AsyncClient() as client:
        app = await served(mesh)
        port = app.mesh_port
        for host in (
            f"127.0.0.1:{port}",
            "127.0.0.1",
            f"localhost:{port}",
            "LOCALHOST",
            f"[::1]:{port}",
            "shop",
            f"shop:{port}",
            f"shop.localhost:{port}",
            "front.localhost:7480",
            "shop.example.com",
        ):
            answer = await client.get(app.url, headers={"host": host})
            assert (answer.status_code, answer.json()["headers"]["host"]) == (200, host)


async def test_other_names_are_refused() -> None:
    async with rig() as mesh, httpx.AsyncClient() as client:
        app = await served(mesh)
        for host in (
            "evil.example",
            f"evil.example:{app.mesh_port}",
            "localhost.evil.example",
            "0.0.0.0",
            "127.0.0.1.evil.example",
            "notlocalhost",
        ):
            answer = await client.get(app.url, headers={"host": host})
            assert answer.status_code == 421
            assert answer.text == (
                "this port answers to the names of this machine and of its app only\n"
            )
        with pytest.raises(websockets.InvalidStatus) as problem:
            await websockets.connect(
                f"ws://evil.example:{app.mesh_port}/ws", host="127.0.0.1", proxy=None
            )
        assert problem.value.response.status_code == 421


@pytest.mark.parametrize("authority", ["", "localhost", "greet", "evil.example"])
async def test_the_authority_of_grpc_counts(authority: str) -> None:
    async with rig() as mesh, greeter("one") as one:
        app = App("greet", instances={"g-1": one}, protocol=common_pb2.PROTOCOL_GRPC)
        await mesh.start(app)
        options = [("grpc.default_authority", authority)] if authority else []
        target = f"localhost:{app.mesh_port}"
        async with grpc.aio.insecure_channel(target, options=options) as channel:
            call = channel.unary_unary("/greeter.Greeter/Greet")(b"x", timeout=10)
            if authority == "evil.example":
                with pytest.raises(grpc.aio.AioRpcError):
                    await call
            else:
                assert await asyncio.wait_for(call, 10) == b"one x"
