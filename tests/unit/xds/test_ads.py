"""The ADS server with a client on its real socket."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import stat
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc.aio
import pytest

from callmesh_agent import dataplane
from callmesh_agent.conditions import Conditions
from callmesh_agent.config import AgentSettings
from callmesh_agent.dataplane import DataPlane
from callmesh_agent.heldview import HeldView
from callmesh_agent.kept import Kept
from callmesh_agent.xds import ads, descriptors
from callmesh_agent.xds.ads import AdsServer, client_bootstrap
from callmesh_agent.xds.descriptors import CLUSTER, ENDPOINTS, LISTENER, ROUTES
from callmesh_agent.xds.ingress import INGRESS
from callmesh_agent.xds.rejections import Rejection
from callmesh_agent.xds.snapshot import LocalInstance
from callmeshpb.v1 import node_pb2

if TYPE_CHECKING:
    from conftest import World


@pytest.fixture
def path() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="callmesh-ads-") as folder:
        yield f"{folder}/ads.sock"


class Served:
    def __init__(self, path: str) -> None:
        self.path = path
        self.rejections: list[list[Rejection]] = []
        self.ads = AdsServer(path, self.rejections.append)


@contextlib.asynccontextmanager
async def serving(path: str) -> AsyncIterator[Served]:
    served = Served(path)
    started = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(served.ads.run(started.set))
        await started.wait()
        yield served
        task.cancel()


class Envoy:
    """One stream that calls itself Envoy."""

    def __init__(self, call: Any) -> None:
        self._call = call
        self._named = False

    async def say(self, kind: str, *names: str, nonce: str = "", error: str = "") -> None:
        request = descriptors.message_class(descriptors.DISCOVERY_REQUEST)(
            type_url=descriptors.TYPE_PREFIX + kind, resource_names=names, response_nonce=nonce
        )
        if not self._named:
            request.node.user_agent_name = "envoy"
            self._named = True
        if error:
            request.error_detail.message = error
        await self._call.write(request)

    async def hear(self) -> Any:
        return await asyncio.wait_for(self._call.read(), 5)

    async def say_no_more(self) -> None:
        await self._call.done_writing()


@contextlib.asynccontextmanager
async def envoy(path: str) -> AsyncIterator[Envoy]:
    async with grpc.aio.insecure_channel(f"unix:{path}") as channel:
        method = channel.stream_stream(
            f"/{ads.SERVICE}/StreamAggregatedResources",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=descriptors.message_class(
                descriptors.DISCOVERY_RESPONSE
            ).FromString,
        )
        yield Envoy(method())


async def subscribed(client: Envoy, world: World) -> str:
    """Take clusters and endpoints; the nonce of the endpoints."""
    await client.say(CLUSTER)
    clusters = await client.hear()
    await client.say(ENDPOINTS, *world.services)
    endpoints = await client.hear()
    await client.say(CLUSTER, nonce=clusters.nonce)
    return str(endpoints.nonce)


async def test_socket_is_this_users_alone_and_goes_with_the_server(path: str) -> None:
    async with serving(path):
        assert stat.S_IMODE(Path(path).stat().st_mode) == 0o600
    async with serving(path):
        assert Path(path).exists()


async def test_client_that_comes_first_waits_for_the_first_snapshot(
    path: str, world: World
) -> None:
    world.add("shop", "one")
    async with serving(path) as served, envoy(path) as client:
        await client.say(CLUSTER)
        served.ads.publish(world.compile())
        response = await client.hear()
        assert response.type_url == descriptors.TYPE_PREFIX + CLUSTER
        assert response.version_info == "1"
        assert len(response.resources) == 2


async def test_acked_waits_for_the_endpoints_of_every_envoy(path: str, world: World) -> None:
    world.add("shop", "one")
    async with serving(path) as served:
        served.ads.publish(world.compile())
        await asyncio.wait_for(served.ads.acked(1), 1)
        async with envoy(path) as first, envoy(path) as second, asyncio.TaskGroup() as group:
            nonces = [await subscribed(client, world) for client in (first, second)]
            waiter = group.create_task(served.ads.acked(1))
            await first.say(ENDPOINTS, "shop", nonce=nonces[0])
            done, _ = await asyncio.wait([waiter], timeout=0.1)
            assert not done
            await second.say(ENDPOINTS, "shop", nonce=nonces[1])
            await asyncio.wait_for(waiter, 1)
            world.instances["one"] = LocalInstance("127.0.0.1", 1, ready=True)
            served.ads.publish(world.compile())
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(served.ads.acked(2), 0.1)
        # Who went away is not waited for.
        await asyncio.wait_for(served.ads.acked(2), 1)


async def test_rejections_are_told_when_they_change_and_tried_again(
    path: str, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ads, "RETRY_REJECTED", 0.05)
    world.add("shop", "one")
    async with serving(path) as served, envoy(path) as client:
        served.ads.publish(world.compile())
        nonce = await subscribed(client, world)
        for _ in range(2):
            await client.say(ENDPOINTS, "shop", nonce=nonce, error="shop: no good")
            again = await client.hear()
            nonce = again.nonce
        assert [r.message for r in served.ads.rejections] == ["no good"]
        await client.say(ENDPOINTS, "shop", nonce=nonce)
        async with asyncio.timeout(2):
            while len(served.rejections) < 2:
                await asyncio.sleep(0.01)
        assert [[r.name for r in told] for told in served.rejections] == [["shop"], []]


async def test_clients_come_and_go_without_a_word_in_the_log(
    path: str, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with serving(path) as served:
        served.ads.publish(world.compile())
        for _ in range(3):
            async with envoy(path) as client:
                await client.say(CLUSTER)
                await client.hear()
        async with envoy(path) as client:
            await client.say(CLUSTER)
            await client.hear()
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_an_answer_under_way_is_not_broken_off(
    path: str, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(500):
        world.add(f"shop-{number}", f"one-{number}")
    async with serving(path) as served:
        served.ads.publish(world.compile())
        async with envoy(path) as client, asyncio.timeout(30):
            await client.say(CLUSTER)
            await client.say_no_more()
            # Longer than what may be under way unread.
            assert len((await client.hear()).resources) >= 500
            assert await client.hear() == grpc.aio.EOF
        async with envoy(path) as client:
            await client.say(CLUSTER)
            await client.say_no_more()
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_grpc_clients_are_told_to_keep_a_service_that_is_gone_for_a_moment() -> None:
    config = json.loads(client_bootstrap("/run/ads.sock", "here", ""))
    assert config["xds_servers"] == [
        {
            "server_uri": "unix:///run/ads.sock",
            "channel_creds": [{"type": "insecure"}],
            "server_features": ["ignore_resource_deletion"],
        }
    ]
    assert config["node"]["id"] == "here"


async def test_taken_waits_for_listeners_and_routes_as_well(path: str, world: World) -> None:
    world.add("shop", "one")
    async with serving(path) as served, envoy(path) as client, asyncio.TaskGroup() as group:
        served.ads.publish(world.compile())
        await client.say(ENDPOINTS, "shop", nonce=await subscribed(client, world))
        await asyncio.wait_for(served.ads.acked(1), 5)
        waiter = group.create_task(served.ads.taken(1))
        await client.say(LISTENER)
        listeners = await client.hear()
        await client.say(LISTENER, nonce=listeners.nonce)
        await client.say(ROUTES, "shop", INGRESS)
        routes = await client.hear()
        done, _ = await asyncio.wait([waiter], timeout=0.1)
        assert not done
        await client.say(ROUTES, "shop", INGRESS, nonce=routes.nonce)
        await asyncio.wait_for(waiter, 5)


async def test_a_refused_listener_counts_as_taken(path: str, world: World) -> None:
    world.add("shop", "one")
    async with serving(path) as served, envoy(path) as client:
        served.ads.publish(world.compile())
        await client.say(ENDPOINTS, "shop", nonce=await subscribed(client, world))
        await client.say(LISTENER)
        listeners = await client.hear()
        await client.say(ROUTES, INGRESS)
        routes = await client.hear()
        await client.say(ROUTES, INGRESS, nonce=routes.nonce)
        error = "Error adding/updating listener(s) shop: cannot bind '127.0.0.1:20001'"
        await client.say(LISTENER, nonce=listeners.nonce, error=error)
        await asyncio.wait_for(served.ads.taken(1), 5)


async def test_nothing_is_taken_while_there_is_no_envoy(path: str, world: World) -> None:
    world.add("shop", "one")
    async with serving(path) as served, asyncio.TaskGroup() as group:
        served.ads.publish(world.compile())
        waiter = group.create_task(served.ads.taken(1))
        async with envoy(path) as client:
            await subscribed(client, world)
        done, _ = await asyncio.wait([waiter], timeout=0.1)
        assert not done
        waiter.cancel()


async def test_a_view_is_reported_once_it_is_taken_however_late(
    tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dataplane, "ACK_LIMIT", 0.01)
    world.add("shop", "one")
    reported: list[int] = []
    settings = AgentSettings(
        state_dir=tmp_path, runtime_dir=tmp_path, ingress_port=7480,
        pages_socket=tmp_path / "web.sock", version="1",
    )  # fmt: skip
    held = HeldView(Kept(settings, print))
    plane = DataPlane(settings, held, Conditions(print, print), print)
    started = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(plane.ads.run(started.set)),
            group.create_task(plane.report_views(reported.append)),
        ]
        await started.wait()
        held.take(node_pb2.ServerMessage(mesh_view=world.view))
        plane.follow_view()
        async with envoy(str(settings.ads_socket)) as client:
            await client.say(ENDPOINTS, "shop", nonce=await subscribed(client, world))
            await client.say(LISTENER)
            listeners = await client.hear()
            await client.say(ROUTES, "shop", INGRESS)
            routes = await client.hear()
            await client.say(ROUTES, "shop", INGRESS, nonce=routes.nonce)
            await asyncio.sleep(0.1)
            assert reported == []
            await client.say(LISTENER, nonce=listeners.nonce)
            async with asyncio.timeout(5):
                while not reported:
                    await asyncio.sleep(0.01)
        assert reported == [world.view.version]
        for each in tasks:
            each.cancel()
