"""Nodes over the API: drained, watched, taken back and deleted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from callmesh_server.api.caller import Caller, CallerKind
from callmesh_wire.errors import (
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
    PermissionDeniedError,
)
from callmeshpb.v1 import node_pb2
from callmeshpb.v1 import scheduler_pb2 as pb

S = "SchedulerService"
DRAIN = "NodeService/Drain"


async def deploy(mesh: Any) -> None:
    spec = pb.AppSpec(name="web", kind=pb.APP_KIND_COMMAND, args=["x"])
    await mesh.client.call(f"{S}/Deploy", pb.DeployRequest(version="v1", apps=[spec]))
    async with asyncio.timeout(5):
        while (await app(mesh)).state != pb.APP_STATE_READY:
            await asyncio.sleep(0.01)


async def app(mesh: Any) -> pb.App:
    return (await mesh.client.call(f"{S}/GetApp", pb.GetAppRequest(name="web"))).app


async def node(mesh: Any, name: str = "local") -> pb.Node:
    listed = await mesh.client.call(f"{S}/ListNodes", pb.ListNodesRequest())
    return next(each for each in listed.nodes if each.name == name)


def drain(seconds: int | None = None, **more: Any) -> node_pb2.DrainRequest:
    request = node_pb2.DrainRequest(node="local", **more)
    if seconds is not None:
        request.deadline.seconds = seconds
    return request


@asynccontextmanager
async def second(mesh: Any, name: str = "other") -> AsyncIterator[Any]:
    """Another node, for the block."""
    agent = type(mesh.agent)(mesh.server, node=name)
    serving = mesh.tasks.create_task(agent.run())
    await agent.until(lambda: bool(agent.received))
    yield agent
    agent.hang_up()
    await serving


async def test_a_drained_nodes_app_moves_and_the_watch_tells_how(mesh: Any) -> None:
    await deploy(mesh)
    watch = mesh.client.stream(f"{S}/WatchNode", pb.WatchNodeRequest(name="local"))
    first = await anext(watch)
    assert (first.node.name, first.node.connected) == ("local", True)
    assert first.node.instances == 1
    assert not first.node.HasField("drain")
    answer = await mesh.client.call(DRAIN, drain(60))
    (left,) = answer.node.drain.left
    assert (left.app, left.instances, left.project) == ("web", 1, "default")
    async with asyncio.timeout(5):
        async for each in watch:
            if "takes no new work: it is draining" in each.node.drain.left[0].message:
                break
    async with second(mesh), asyncio.timeout(5):
        async for each in watch:
            if not each.node.drain.left:
                break
        assert each.node.instances == 0
        assert not each.node.drain.expired
        assert [each.node for each in (await app(mesh)).instances] == ["other"]


async def test_what_is_left_at_the_deadline_is_named(mesh: Any) -> None:
    await deploy(mesh)
    await mesh.client.call(DRAIN, drain(0))
    async with asyncio.timeout(5):
        while not (await node(mesh)).drain.expired or (await node(mesh)).drain.left:
            await asyncio.sleep(0.01)
    (ended,) = (await node(mesh)).drain.ended
    assert (ended.app, ended.instances) == ("web", 1)
    assert "node `local` takes no new work" in (await app(mesh)).conditions[1].message


async def test_the_same_request_drains_once(mesh: Any) -> None:
    request = drain(60, request_id="once")
    first = await mesh.client.call(DRAIN, request)
    await mesh.client.call(DRAIN, drain(undo=True))
    assert await mesh.client.call(DRAIN, request) == first
    assert not (await node(mesh)).HasField("drain")


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (drain(-1), "must be from 0 to 7 days"),
        (drain(8 * 86400), "must be from 0 to 7 days"),
        (drain(1, undo=True), "exclude each other"),
    ],
)
async def test_a_wrong_deadline_is_refused(
    mesh: Any, request_: node_pb2.DrainRequest, said: str
) -> None:
    with pytest.raises(InvalidArgumentError, match=said):
        await mesh.client.call(DRAIN, request_)


async def test_a_node_that_is_not_there_is_answered_with_those_that_are(mesh: Any) -> None:
    calls = {
        DRAIN: node_pb2.DrainRequest(node="nope"),
        f"{S}/DeleteNode": pb.DeleteNodeRequest(name="nope"),
    }
    for method, request in calls.items():
        with pytest.raises(NotFoundError, match="there is no node `nope`: there is `local`"):
            await mesh.client.call(method, request)
    with pytest.raises(NotFoundError, match="there is no node `nope`"):
        await anext(mesh.client.stream(f"{S}/WatchNode", pb.WatchNodeRequest(name="nope")))


async def test_only_a_person_may_change_nodes(mesh: Any) -> None:
    workload = Caller(kind=CallerKind.WORKLOAD, node="local", app="web")
    for method, request in {
        DRAIN: drain(60),
        f"{S}/DeleteNode": pb.DeleteNodeRequest(name="local"),
    }.items():
        with pytest.raises(PermissionDeniedError, match="app/web may not"):
            await anext(mesh.server.router.call(method, request, workload))


async def test_a_node_is_deleted_once_it_is_away(mesh: Any) -> None:
    await deploy(mesh)
    delete = pb.DeleteNodeRequest(name="local")
    with pytest.raises(FailedPreconditionError, match="`callmesh drain local`, stop its agent"):
        await mesh.client.call(f"{S}/DeleteNode", delete)
    watch = mesh.client.stream(f"{S}/WatchNode", pb.WatchNodeRequest(name="local"))
    await anext(watch)
    mesh.agent.hang_up()
    async with asyncio.timeout(5):
        while (await anext(watch)).node.connected:
            pass
    assert (await node(mesh)).HasField("away_since")
    async with second(mesh), asyncio.timeout(5):
        await mesh.client.call(f"{S}/DeleteNode", delete)
        assert (await anext(watch)).deleted
        listed = await mesh.client.call(f"{S}/ListNodes", pb.ListNodesRequest())
        assert [each.name for each in listed.nodes] == ["other"]
        while [each.node for each in (await app(mesh)).instances] != ["other"]:
            await asyncio.sleep(0.01)


async def test_a_drain_and_a_deletion_outlive_the_server(start_mesh: Any) -> None:
    async with start_mesh() as mesh:
        await mesh.client.call(DRAIN, drain(3600))
        async with second(mesh, "gone"):
            pass
        async with asyncio.timeout(5):
            while (await node(mesh, "gone")).connected:
                await asyncio.sleep(0.01)
        await mesh.client.call(f"{S}/DeleteNode", pb.DeleteNodeRequest(name="gone"))
        before = await node(mesh)
    async with start_mesh() as mesh:
        listed = await mesh.client.call(f"{S}/ListNodes", pb.ListNodesRequest())
        assert [each.name for each in listed.nodes] == ["local"]
        assert listed.nodes[0].drain == before.drain
        await mesh.client.call(DRAIN, drain(undo=True))
        assert not (await node(mesh)).HasField("drain")
