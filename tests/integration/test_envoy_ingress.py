"""Browsers at the ingress of a real Envoy: who gets what by host name."""

from __future__ import annotations

import asyncio

import httpx
import websockets
from envoy_rig import App, Rig, rig, until_200


async def started(mesh: Rig, **options: object) -> App:
    app = App("shop", instances={"shop-1": await mesh.upstream("shop-1")}, options=dict(options))
    await mesh.start(app)
    await until_200(mesh.ingress_url, headers={"host": "shop.localhost"})
    return app


def at(mesh: Rig, host: str) -> dict[str, str]:
    return {"host": host.replace("PORT", str(mesh.ingress.port))}


async def test_app_answers_at_its_host_names() -> None:
    async with rig() as mesh, httpx.AsyncClient() as client:
        await started(mesh, custom_domain="shop.example.com")
        for host in (
            "shop.localhost:PORT",
            "shop.localhost",
            "SHOP.localhost:1",
            "shop.example.com",
            "shop.example.com:PORT",
        ):
            answer = await client.get(mesh.ingress_url, headers=at(mesh, host))
            assert answer.json()["name"] == "shop-1", host
            seen = answer.json()["headers"]
            assert seen["host"] == at(mesh, host)["host"]
            assert seen["x-forwarded-for"] == "127.0.0.1"
            assert seen["x-forwarded-proto"] == "http"


async def test_origin_is_the_apps_own_business() -> None:
    async with rig() as mesh, httpx.AsyncClient() as client:
        await started(mesh)
        headers = {**at(mesh, "shop.localhost"), "origin": "http://elsewhere.example"}
        answer = await client.post(mesh.ingress_url, headers=headers)
        assert answer.json()["headers"]["origin"] == "http://elsewhere.example"


async def test_websocket_passes_by_host_name() -> None:
    async with rig() as mesh:
        await started(mesh)
        socket = await asyncio.open_connection("127.0.0.1", mesh.ingress.port)
        socket[1].close()
        async with websockets.connect(
            f"ws://shop.localhost:{mesh.ingress.port}/", host="127.0.0.1", port=mesh.ingress.port
        ) as browser:
            await browser.send("x")
            assert await browser.recv() == "shop-1 x"


async def test_unknown_hosts_get_the_pages_or_nothing() -> None:
    async with rig() as mesh, httpx.AsyncClient() as client:
        await started(mesh)
        await mesh.pages()
        for host in ("localhost:PORT", "127.0.0.1:PORT", "[::1]:PORT", "nothing.localhost:PORT"):
            answer = await client.get(mesh.ingress_url, headers=at(mesh, host))
            assert answer.json()["name"] == "pages", host
            assert answer.json()["headers"]["host"] == at(mesh, host)["host"]
        for host in ("evil.example", "evil.example:PORT", "shop.localhost.evil.example", "shop"):
            answer = await client.get(mesh.ingress_url, headers=at(mesh, host))
            assert answer.status_code == 421, host
            assert answer.text.startswith("this host name is not served here: `callmesh get apps`")


async def test_pages_that_are_away_are_answered_for() -> None:
    async with rig() as mesh, httpx.AsyncClient() as client:
        await started(mesh)
        answer = await client.get(mesh.ingress_url, headers=at(mesh, "nothing.localhost"))
        assert answer.status_code == 503
        assert answer.text == (
            "the page that lists what this mesh serves cannot be connected to:"
            " `callmesh get apps` lists it too\n"
        )
        await mesh.pages()
        await until_200(mesh.ingress_url, headers=at(mesh, "nothing.localhost"))


async def test_app_without_instances_is_named_at_the_ingress() -> None:
    async with rig() as mesh, httpx.AsyncClient() as client:
        app = await started(mesh)
        app.instances = {}
        snapshot = mesh.publish()
        await mesh.ads.acked(snapshot.version)
        answer = await client.get(mesh.ingress_url, headers=at(mesh, "shop.localhost"))
        assert answer.status_code == 503
        assert answer.text == (
            "no instance of app `shop` is ready: see `callmesh describe app shop`\n"
        )


async def test_slow_headers_and_large_headers_are_bounded() -> None:
    async with rig() as mesh, httpx.AsyncClient() as client:
        await started(mesh)
        large = {**at(mesh, "shop.localhost"), "x-large": "x" * 80_000}
        assert (await client.get(mesh.ingress_url, headers=large)).status_code == 431
        many = {**at(mesh, "shop.localhost"), **{f"x-{n}": "1" for n in range(250)}}
        assert (await client.get(mesh.ingress_url, headers=many)).status_code == 431
        reader, writer = await asyncio.open_connection("127.0.0.1", mesh.ingress.port)
        writer.write(b"GET / HTTP/1.1\r\nhost: shop.localhost\r\n")
        assert b"408" in await asyncio.wait_for(reader.readline(), 15)
        writer.close()
