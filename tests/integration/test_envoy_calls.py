"""Calls through a real Envoy that our own ADS server configures."""

from __future__ import annotations

import asyncio
import time

import httpx
import pytest
import websockets
from envoy_rig import App, Rig, free_port, rig, until_200
from google.protobuf.duration_pb2 import Duration

from callmeshpb.v1 import node_pb2


async def two_instances(mesh: Rig, name: str = "hello", **options: object) -> App:
    """An app with two real instances, `<name>-1` and `<name>-2`, served."""
    ids = [f"{name}-1", f"{name}-2"]
    ports = await asyncio.gather(*map(mesh.upstream, ids))
    app = App(name, instances=dict(zip(ids, ports, strict=True)), options=dict(options))
    await mesh.start(app)
    await until_200(app.url)
    return app


async def test_call_to_the_mesh_port_reaches_every_instance_in_turn() -> None:
    async with rig() as mesh, httpx.AsyncClient() as client:
        app = await two_instances(mesh)
        names = [(await client.get(f"{app.url}/x")).json()["name"] for _ in range(8)]
        assert set(names) == {"hello-1", "hello-2"}
        assert mesh.rejected == []
        assert mesh.log() == ""


async def test_app_sees_the_call_as_it_was_made() -> None:
    async with rig() as mesh, httpx.AsyncClient() as client:
        app = await two_instances(mesh)
        sent = {"x-request-id": "0123-mine", "X-Forwarded-For": "203.0.113.9", "accept": "a/b"}
        answer = await client.get(f"{app.url}/x", headers=sent)
        seen = answer.json()["headers"]
        assert seen["x-request-id"] == "0123-mine"
        assert seen["x-forwarded-for"] == "203.0.113.9"
        assert seen["accept"] == "a/b"
        assert seen["host"] == f"127.0.0.1:{app.mesh_port}"
        assert answer.headers["server"] == "uvicorn"
        for headers in (seen, answer.headers):
            assert not [name for name in headers if name.startswith("x-envoy")]
        assert len((await client.get(app.url)).json()["headers"]["x-request-id"]) == 36


async def test_service_without_instances_answers_with_what_to_do() -> None:
    async with rig() as mesh, httpx.AsyncClient() as client:
        empty = App("empty")
        await mesh.start(empty)
        began = time.perf_counter()
        answer = await client.get(empty.url)
        assert time.perf_counter() - began < 5
        assert answer.status_code == 503
        assert answer.headers["content-type"].startswith("text/plain")
        assert answer.text == (
            "no instance of app `empty` is ready: see `callmesh describe app empty`\n"
        )


async def test_instance_that_refuses_connections_is_named() -> None:
    async with rig() as mesh, httpx.AsyncClient() as client:
        gone = App("gone", instances={"gone-1": 1})
        await mesh.start(gone)
        answer = await client.get(gone.url)
        assert answer.status_code == 503
        assert answer.text == (
            "app `gone` cannot be connected to: see `callmesh describe app gone`\n"
        )


async def test_change_of_endpoints_moves_calls_within_milliseconds() -> None:
    async with rig() as mesh, httpx.AsyncClient() as client:
        app = await two_instances(mesh)
        both = dict(app.instances)
        times = []
        for round_ in range(20):
            wanted = f"hello-{round_ % 2 + 1}"
            app.instances = {wanted: both[wanted]}
            began = time.perf_counter()
            snapshot = mesh.publish()
            while (await client.get(app.url)).json()["name"] != wanted:
                assert time.perf_counter() - began < 10
            times.append(time.perf_counter() - began)
            await asyncio.wait_for(mesh.ads.acked(snapshot.version), 10)
        median = sorted(times)[len(times) // 2] * 1000
        print(f"\nendpoint change to first call on it: median {median:.1f} ms")
        assert median < 250


async def test_acked_means_that_the_old_endpoint_gets_no_new_call() -> None:
    async with rig() as mesh, httpx.AsyncClient() as client:
        app = await two_instances(mesh)
        del app.instances["hello-1"]
        snapshot = mesh.publish()
        await asyncio.wait_for(mesh.ads.acked(snapshot.version), 10)
        # Envoy's workers learn of it just after its main thread acks.
        await asyncio.sleep(0.01)
        names = {(await client.get(app.url)).json()["name"] for _ in range(20)}
        assert names == {"hello-2"}


async def test_killed_instance_loses_no_get_under_32_callers() -> None:
    async with rig() as mesh:
        app = await two_instances(mesh)
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=32)
        statuses: list[int] = []
        names: list[str] = []
        stop = asyncio.Event()

        async def call(client: httpx.AsyncClient) -> None:
            while not stop.is_set():
                answer = await client.get(app.url)
                statuses.append(answer.status_code)
                names.append(answer.json().get("name", "") if answer.status_code == 200 else "")

        async with httpx.AsyncClient(limits=limits) as client, asyncio.TaskGroup() as group:
            for _ in range(32):
                group.create_task(call(client))
            await asyncio.sleep(0.7)
            await mesh.kill("hello-1")
            # Nobody tells Envoy: it goes on with what its own retries do.
            await asyncio.sleep(1)
            before = len(statuses)
            del app.instances["hello-1"]
            mesh.publish()
            await asyncio.sleep(0.3)
            stop.set()
        print(f"\n{len(statuses)} calls by 32 callers, {before} of them before the mesh knew")
        assert {status: statuses.count(status) for status in set(statuses)} == {200: len(statuses)}
        assert set(names[:50]) == {"hello-1", "hello-2"}


async def test_post_that_an_app_has_seen_is_not_made_again() -> None:
    async with rig() as mesh, httpx.AsyncClient() as client:
        app = await two_instances(mesh)
        for number in range(6):
            answer = await client.post(f"{app.url}/503", content=f"refused-{number}")
            assert answer.status_code == 503
        seen = []
        for port in app.instances.values():
            seen += (await client.get(f"http://127.0.0.1:{port}")).json()["seen"]
        assert sorted(seen) == [f"refused-{number}" for number in range(6)]
        died = await client.post(f"{app.url}/die", content="deadly")
        assert died.status_code == 503
        assert died.text == (
            "app `hello` closed the connection before it had answered:"
            " see `callmesh logs app/hello`\n"
        )
        # The other instance did not get it, or it would be dead as well.
        assert (await client.post(app.url)).status_code == 200


async def test_post_to_a_dead_instance_goes_to_the_other() -> None:
    async with rig() as mesh, httpx.AsyncClient() as client:
        app = await two_instances(mesh)
        await mesh.kill("hello-1")
        answers = [(await client.post(app.url, content=str(n))).status_code for n in range(20)]
        assert answers == [200] * 20


async def test_stale_keep_alive_connection_costs_no_post() -> None:
    async with rig() as mesh, httpx.AsyncClient() as client:
        app = await two_instances(mesh)
        for _ in range(3):
            await asyncio.sleep(1.45)
            for number in range(10):
                assert (await client.post(app.url, content=str(number))).status_code == 200


async def test_request_timeout_is_set_by_its_app_alone() -> None:
    async with rig() as mesh, httpx.AsyncClient() as client:
        timeouts = node_pb2.ServiceView().timeouts
        timeouts.request.CopyFrom(Duration(nanos=200_000_000))
        app = await two_instances(mesh, timeouts=timeouts)
        answer = await client.post(f"{app.url}/slow?3")
        assert answer.status_code == 504
        assert answer.text.startswith("app `hello` did not answer within its `Timeouts(request=)`")
        app.options = {}
        mesh.publish()
        await asyncio.sleep(0.1)
        assert (await client.post(f"{app.url}/slow?0.5")).status_code == 200


async def test_request_timeout_does_not_cut_a_websocket() -> None:
    async with rig() as mesh:
        timeouts = node_pb2.ServiceView().timeouts
        timeouts.request.CopyFrom(Duration(nanos=200_000_000))
        app = await two_instances(mesh, timeouts=timeouts)
        async with websockets.connect(f"ws://127.0.0.1:{app.mesh_port}/") as socket:
            await asyncio.sleep(0.6)
            await socket.send("x")
            assert str(await socket.recv()).endswith(" x")


async def test_caller_cannot_talk_envoy_into_repeating_a_post() -> None:
    async with rig() as mesh, httpx.AsyncClient() as client:
        app = await two_instances(mesh)
        headers = {"x-envoy-retry-on": "5xx", "x-envoy-max-retries": "5"}
        await client.post(f"{app.url}/503", content="once", headers=headers)
        seen = []
        for port in app.instances.values():
            seen += (await client.get(f"http://127.0.0.1:{port}")).json()["seen"]
        assert seen == ["once"]


async def test_events_arrive_as_they_are_sent() -> None:
    async with rig() as mesh, httpx.AsyncClient() as client:
        app = await two_instances(mesh)
        times = []
        async with client.stream("GET", f"{app.url}/events?5") as answer:
            async for _ in answer.aiter_lines():
                times.append(time.perf_counter())
        assert times[-1] - times[0] > 0.15


async def test_streams_outlive_changes_of_everything_around_them() -> None:
    async with rig() as mesh:
        app = await two_instances(mesh)
        url = f"ws://127.0.0.1:{app.mesh_port}/"
        async with websockets.connect(url) as socket, httpx.AsyncClient() as client:
            await socket.send("0")
            first = str(await socket.recv()).split()[0]
            async with client.stream("GET", f"{app.url}/events?40") as events:
                lines = events.aiter_lines()
                await anext(lines)
                other = App("other", instances={"other-1": await mesh.upstream("other-1")})
                mesh.publish(app, other)
                await until_200(other.url)
                app.options = {"cookie_affinity": True}
                app.options["timeouts"] = node_pb2.ServiceView().timeouts
                app.options["timeouts"].request.FromSeconds(3600)
                app.instances = {key: port for key, port in app.instances.items() if key != first}
                mesh.publish()
                await asyncio.sleep(0.2)
                mesh.publish(app)
                rest = [line async for line in lines]
            assert len([line for line in rest if line]) == 39
            await socket.send("1")
            assert await socket.recv() == f"{first} 1"


@pytest.mark.parametrize("path", ["/", "/ws"])
async def test_browser_with_a_cookie_stays_on_its_instance(path: str) -> None:
    async with rig() as mesh:
        app = await two_instances(mesh, cookie_affinity=True)
        async with httpx.AsyncClient() as client:
            name = (await client.get(app.url)).json()["name"]
            cookie = f"callmesh-hello={client.cookies['callmesh-hello']}"
            assert {(await client.get(app.url)).json()["name"] for _ in range(10)} == {name}
        url = f"ws://127.0.0.1:{app.mesh_port}{path}"
        for _ in range(4):
            async with websockets.connect(url, additional_headers={"cookie": cookie}) as socket:
                await socket.send("x")
                assert await socket.recv() == f"{name} x"
        # A third instance moves nobody; the loss of one's own moves one on.
        app.instances["hello-3"] = await mesh.upstream("hello-3")
        snapshot = mesh.publish()
        await mesh.ads.acked(snapshot.version)
        async with httpx.AsyncClient(headers={"cookie": cookie}) as client:
            assert {(await client.get(app.url)).json()["name"] for _ in range(10)} == {name}
            await mesh.kill(name)
            answer = await client.get(app.url)
            assert answer.status_code == 200
            assert answer.json()["name"] != name


async def test_calls_stay_near_while_somebody_near_is_up() -> None:
    async with rig() as mesh, httpx.AsyncClient() as client:
        ports = await asyncio.gather(*map(mesh.upstream, ["own", "near", "far"]))
        app = App("hello", options={"prefer_local": True})
        app.instances = {"own": ports[0]}
        app.elsewhere = {"near": ("", ports[1]), "far": ("b", ports[2])}
        await mesh.start(app)
        await until_200(app.url)

        async def answering() -> set[str]:
            assert mesh.snapshot
            await asyncio.wait_for(mesh.ads.acked(mesh.snapshot.version), 2)
            await asyncio.sleep(0.05)
            return {(await client.get(app.url)).json()["name"] for _ in range(10)}

        assert await answering() == {"own"}
        app.options = {}
        mesh.publish()
        assert await answering() == {"own", "near"}
        # Nobody near is up: calls go far before the mesh has heard of it.
        await mesh.kill("own")
        await mesh.kill("near")
        for _ in range(30):
            await client.get(app.url)
        assert await answering() == {"far"}


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_call_that_is_repeated_is_repeated_on_the_own_node(method: str) -> None:
    """As on a node that is cut off: all the others cannot be connected to."""
    async with rig() as mesh, httpx.AsyncClient(timeout=30) as client:
        app = App("hello", instances={"own": await mesh.upstream("own")})
        await mesh.start(app)
        await until_200(app.url)
        app.elsewhere = {f"away{number}": ("", free_port()) for number in range(20)}
        await asyncio.wait_for(mesh.ads.acked(mesh.publish().version), 2)
        answers = [await client.request(method, app.url) for _ in range(21)]
        assert [each.status_code for each in answers] == [200] * 21


async def test_without_affinity_no_cookie_is_set() -> None:
    async with rig() as mesh, httpx.AsyncClient() as client:
        app = await two_instances(mesh)
        assert (await client.get(app.url)).headers.get("set-cookie") is None


async def test_http2_and_http10_callers_reach_an_http_app() -> None:
    async with rig() as mesh:
        app = await two_instances(mesh)
        for host in (b"host: localhost\r\n", b""):
            reader, writer = await asyncio.open_connection("127.0.0.1", app.mesh_port)
            writer.write(b"GET / HTTP/1.0\r\n" + host + b"\r\n")
            assert b"200 OK" in await reader.readline()
            writer.close()
        curl = await asyncio.create_subprocess_exec(
            "curl", "-s", "--http2-prior-knowledge", "-w", "%{http_version} %{http_code}",
            "-o", "/dev/null", app.url, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert (await curl.communicate())[0] == b"2 200"
