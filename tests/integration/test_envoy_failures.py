"""What callers notice when a part of the data plane dies, and for how long."""

from __future__ import annotations

import asyncio
import contextlib
import time

import httpx
import psutil
import websockets
from envoy_rig import App, Rig, rig, until_200

from callmesh_agent import envoy


async def started(mesh: Rig) -> App:
    app = App("hello", instances={"hello-1": await mesh.upstream("hello-1")})
    await mesh.start(app)
    await until_200(app.url)
    return app


@contextlib.asynccontextmanager
async def steady_calls(url: str, statuses: list[int]) -> object:
    async def call() -> None:
        async with httpx.AsyncClient() as client:
            while not stop.is_set():
                statuses.append((await client.get(url)).status_code)
                await asyncio.sleep(0.005)

    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(call())
        yield
        stop.set()


async def test_calls_go_on_while_the_ads_server_is_away() -> None:
    async with rig() as mesh:
        app = await started(mesh)
        statuses: list[int] = []
        async with (
            steady_calls(app.url, statuses),
            websockets.connect(f"ws://127.0.0.1:{app.mesh_port}/") as socket,
        ):
            await mesh.stop_ads()
            await asyncio.sleep(3)
            during = len(statuses)
            await mesh.start_ads()
            new = App("new", instances={"new-1": app.instances["hello-1"]})
            mesh.publish(app, new)
            took = await until_200(new.url)
            await socket.send("x")
            assert await socket.recv() == "hello-1 x"
        print(f"\nADS back to first call on a new app: {took * 1000:.0f} ms")
        assert took < 20
        assert during > 50
        assert set(statuses) == {200}


async def test_envoy_that_starts_before_its_ads_server_serves_soon_after_it() -> None:
    async with rig() as mesh:
        app = App("hello", instances={"hello-1": await mesh.upstream("hello-1")})
        await mesh.start_envoy()
        await asyncio.sleep(1)
        await mesh.start_ads()
        mesh.publish(app)
        took = await until_200(app.url)
        print(f"\nADS up to first 200: {took * 1000:.0f} ms")
        assert took < 20


async def test_killed_envoy_answers_again_soon_after_its_start() -> None:
    async with rig() as mesh:
        app = await started(mesh)
        times, work = [], []
        for _ in range(5):
            await mesh.kill_envoy()
            assert not await envoy.ready(mesh.admin_socket)
            began = time.perf_counter()
            await mesh.start_envoy()
            await until_200(app.url)
            times.append(time.perf_counter() - began)
            assert mesh.envoy
            used = psutil.Process(mesh.envoy.pid).cpu_times()
            work.append(used.user + used.system)
        print(f"\nEnvoy's start to first 200: {[round(t * 1000) for t in times]} ms")
        print(f"of it at work: {[round(t * 1000) for t in work]} ms")
        # The time depends on who else has the cores; the work does not.
        assert min(work) < 0.2


async def test_acked_waits_for_no_envoy_that_is_not_there() -> None:
    async with rig() as mesh:
        app = await started(mesh)
        await mesh.kill_envoy()
        snapshot = mesh.publish(app)
        await asyncio.wait_for(mesh.ads.acked(snapshot.version), 2)


async def test_drain_lets_calls_end_and_takes_no_new_connection() -> None:
    async with rig() as mesh, httpx.AsyncClient() as client:
        app = await started(mesh)
        async with asyncio.TaskGroup() as group:
            slow = group.create_task(client.get(f"{app.url}/slow?0.5"))
            await asyncio.sleep(0.2)
            assert await envoy.calls_in_flight(mesh.admin_socket) == 1
            began = time.perf_counter()
            left = await envoy.drain(mesh.admin_socket, timeout=5)
            took = time.perf_counter() - began
        assert slow.result().status_code == 200
        assert left == 0
        assert 0.1 < took < 5
        with contextlib.suppress(httpx.ConnectError):
            async with httpx.AsyncClient() as late:
                answer = await late.get(app.url)
                assert answer.headers["connection"] == "close"


async def test_two_meshes_do_not_share_a_port() -> None:
    async with rig() as first, rig() as second, httpx.AsyncClient() as client:
        app = await started(first)
        taken = App("taken", mesh_port=app.mesh_port)
        fine = App("fine", instances={"fine-1": app.instances["hello-1"]})
        await second.start(taken, fine)
        await until_200(fine.url)
        [rejection] = second.rejected
        assert (rejection.client, rejection.type, rejection.name) == ("envoy", "Listener", "taken")
        assert f"127.0.0.1:{app.mesh_port}" in rejection.message
        names = {(await client.get(app.url)).json()["name"] for _ in range(20)}
        assert names == {"hello-1"}
        # Once the port is free it is taken, without being asked again.
        await first.kill_envoy()
        taken.instances = {"taken-1": app.instances["hello-1"]}
        second.publish()
        print(f"\nport free to first 200: {await until_200(taken.url):.1f} s")
        assert second.rejected == []
