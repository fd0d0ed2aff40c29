"""RegistryService over real gRPC: what others register."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration

from callmesh_wire.errors import (
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
)
from callmeshpb.v1 import common_pb2, registry_pb2
from callmeshpb.v1 import scheduler_pb2 as pb

R = "RegistryService"


def register(identifier: str = "one", seconds: float = 60, **more: Any) -> Any:
    lease = Duration()
    lease.FromNanoseconds(int(seconds * 1e9))
    fields = {
        "service": "billing",
        "instance_id": identifier,
        "address": "127.0.0.1",
        "port": 9000,
        "protocol": common_pb2.PROTOCOL_HTTP,
        "lease": lease,
        **more,
    }
    return registry_pb2.RegisterRequest(**fields)


async def resolve(mesh: Any, service: str = "billing") -> registry_pb2.Service:
    request = registry_pb2.ResolveRequest(service=service)
    return (await mesh.client.call(f"{R}/Resolve", request)).service


async def test_a_registered_service_is_called_like_any_other(mesh: Any) -> None:
    answer = (await mesh.client.call(f"{R}/Register", register())).service
    assert answer.external
    assert answer.endpoint == f"http://127.0.0.1:{answer.mesh_port}"
    assert await resolve(mesh) == answer
    await mesh.agent.until(
        lambda: any(
            view.service.name == "billing"
            for message in mesh.agent.received
            for view in message.mesh_view.services
        )
    )
    listed = await mesh.client.call(f"{R}/ListServices", registry_pb2.ListServicesRequest())
    assert [each.name for each in listed.services] == ["billing"]


async def test_deregistering_the_last_instance_ends_the_service(mesh: Any) -> None:
    watch = mesh.client.stream(f"{R}/Watch", registry_pb2.WatchRequest(service="billing"))
    versions = []
    async with asyncio.timeout(10):
        first = await anext(watch)
        assert not first.exists
        await mesh.client.call(f"{R}/Register", register())
        second = await anext(watch)
        assert [each.instance_id for each in second.service.endpoints] == ["one"]
        request = registry_pb2.DeregisterRequest(service="billing", instance_id="one")
        await mesh.client.call(f"{R}/Deregister", request)
        third = await anext(watch)
        assert not third.exists
    versions = [first.version, second.version, third.version]
    assert versions == sorted(set(versions))
    with pytest.raises(NotFoundError, match="no registered instance `one`"):
        await mesh.client.call(f"{R}/Deregister", request)
    with pytest.raises(NotFoundError, match="no service `billing`"):
        await resolve(mesh)


async def test_a_lease_that_is_not_renewed_ends(mesh: Any) -> None:
    await mesh.client.call(f"{R}/Register", register("short", seconds=1))
    await mesh.client.call(f"{R}/Register", register("long", seconds=60))
    watch = mesh.client.stream(f"{R}/Watch", registry_pb2.WatchRequest(service="billing"))
    async with asyncio.timeout(5):
        async for update in watch:
            if len(update.service.endpoints) == 1:
                break
    assert update.service.endpoints[0].instance_id == "long"


async def test_registrations_and_their_port_survive_a_restart(start_mesh: Any) -> None:
    async with start_mesh() as mesh:
        before = (await mesh.client.call(f"{R}/Register", register())).service
    async with start_mesh() as mesh:
        assert await resolve(mesh) == before


async def test_mistakes_are_said_at_once(mesh: Any) -> None:
    bad = register(address="localhost", port=0, seconds=0.5)
    with pytest.raises(InvalidArgumentError) as caught:
        await mesh.client.call(f"{R}/Register", bad)
    assert caught.value.message.count("\n") == 2


async def test_an_apps_name_is_not_registered_by_others_nor_the_reverse(mesh: Any) -> None:
    def deploy(name: str) -> pb.DeployRequest:
        spec = pb.AppSpec(name=name, kind=pb.APP_KIND_COMMAND, args=["x"])
        return pb.DeployRequest(version="v1", apps=[spec])

    await mesh.client.call("SchedulerService/Deploy", deploy("web"))
    with pytest.raises(FailedPreconditionError, match="`web` is an app"):
        await mesh.client.call(f"{R}/Register", register(service="web"))
    await mesh.client.call(f"{R}/Register", register())
    with pytest.raises(InvalidArgumentError, match="registered service of that name"):
        await mesh.client.call("SchedulerService/Deploy", deploy("billing"))
