"""Nodes: listed, watched, drained and deleted."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

from callmesh_server.api import paging
from callmesh_server.api.caller import Caller, CallerKind
from callmesh_server.api.idempotency import Requests
from callmesh_server.apply import Applier
from callmesh_server.changes import Changes, NodeChanged
from callmesh_server.core import draining, liveness
from callmesh_server.core.attempts import current
from callmesh_server.core.leftovers import leftovers
from callmesh_server.core.times import span
from callmesh_server.core.world import NOTHING, World
from callmesh_wire.errors import (
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
    PermissionDeniedError,
)
from callmeshpb.v1 import node_pb2, scheduler_pb2

# Seconds between two messages of a watch.
WATCH_PAUSE = 0.1
MAX_DEADLINE = 7 * 86400.0
# How many nodes an error names, and how much of a wrong name.
NAMED = 10
MAX_NAME = 60


class NodesApi:
    """The node methods of SchedulerService, and Drain of NodeService."""

    def __init__(
        self, world: World, changes: Changes, applier: Applier, requests: Requests
    ) -> None:
        self._world = world
        self._changes = changes
        self._applier = applier
        self._requests = requests

    async def list_nodes(
        self, request: scheduler_pb2.ListNodesRequest, _caller: Caller
    ) -> scheduler_pb2.ListNodesResponse:
        """Nodes by name, with what is on them."""
        found, token = paging.page(
            list(self._world.nodes), str, request.page_size, request.page_token
        )
        return scheduler_pb2.ListNodesResponse(
            nodes=[_whole(self._world, name) for name in found], next_page_token=token
        )

    async def watch_node(
        self, request: scheduler_pb2.WatchNodeRequest, _caller: Caller
    ) -> AsyncIterator[scheduler_pb2.WatchNodeResponse]:
        """The whole node, now and at every change; ends with its deletion."""
        name = _known(self._world, request.name)
        last = _whole(self._world, name)
        with self._changes.watch(NodeChanged(name)) as changed:
            yield scheduler_pb2.WatchNodeResponse(node=last)
            while True:
                await changed.wait()
                # A busy node changes with every run: a few times a second will do.
                await asyncio.sleep(WATCH_PAUSE)
                changed.clear()
                if name not in self._world.nodes:
                    yield scheduler_pb2.WatchNodeResponse(node=last, deleted=True)
                    return
                node = _whole(self._world, name)
                if node != last:
                    last = node
                    yield scheduler_pb2.WatchNodeResponse(node=node)

    async def delete_node(
        self, request: scheduler_pb2.DeleteNodeRequest, caller: Caller
    ) -> scheduler_pb2.DeleteNodeResponse:
        """Forget a node that does not come back."""
        _only_users(caller, "delete a node")

        async def change() -> scheduler_pb2.DeleteNodeResponse:
            name = _known(self._world, request.name)
            if self._world.nodes[name].connected:
                raise FailedPreconditionError(
                    f"node `{name}` is connected: drain it with `callmesh drain {name}`, stop its "
                    "agent, and delete it then"
                )
            self._applier.perform(liveness.removed(self._world, name, time.time()))
            return scheduler_pb2.DeleteNodeResponse()

        return await self._requests.once(
            request.request_id, "DeleteNode", scheduler_pb2.DeleteNodeResponse, change
        )

    async def drain(self, request: node_pb2.DrainRequest, caller: Caller) -> node_pb2.DrainResponse:
        """Begin a node's drain, change its deadline, or take it back."""
        _only_users(caller, "drain a node")
        deadline = _deadline(request)

        async def change() -> node_pb2.DrainResponse:
            name = _known(self._world, request.node)
            if request.undo:
                actions = draining.undone(self._world, name)
            else:
                actions = draining.begun(self._world, name, deadline, time.time())
            self._applier.perform(actions)
            return node_pb2.DrainResponse(node=_whole(self._world, name))

        return await self._requests.once(
            request.request_id, "Drain", node_pb2.DrainResponse, change
        )


def _known(world: World, name: str) -> str:
    """The name, where there is a node of it. Raises `NotFoundError` with those there are."""
    if name in world.nodes:
        return name
    names = sorted(world.nodes)
    there = ", ".join(f"`{each}`" for each in names[:NAMED])
    if len(names) > NAMED:
        there += f" and {len(names) - NAMED} more"
    said = f"there is no node `{name[:MAX_NAME]}`"
    raise NotFoundError(
        f"{said}: there {_are(names)} {there}" if names else f"{said}, and no other"
    )


def _whole(world: World, name: str) -> scheduler_pb2.Node:
    """A node with what is on it, the reader's own."""
    state = world.nodes[name]
    node = scheduler_pb2.Node()
    node.CopyFrom(state.record)
    node.ClearField("key_digest")
    node.connected = state.connected
    node.lost = state.lost
    node.instances = len(world.instances_on_node.get(name, NOTHING))
    node.attempts = sum(
        current(world.runs[run]) is not None for run in world.runs_on_node.get(name, NOTHING)
    )
    if state.draining:
        node.drain.left.extend(leftovers(world, name))
    return node


def _are(names: list[str]) -> str:
    return "is" if len(names) == 1 else "are"


def _only_users(caller: Caller, what: str) -> None:
    if caller.kind is not CallerKind.USER:
        raise PermissionDeniedError(f"{caller.label} may not {what}: a person may, by the CLI")


def _deadline(request: node_pb2.DrainRequest) -> float | None:
    """In seconds from now, or None where the request names none."""
    if not request.HasField("deadline"):
        return None
    if request.undo:
        raise InvalidArgumentError("`deadline` and `undo` exclude each other: name one of them")
    deadline = span(request.deadline)
    if not 0 <= deadline <= MAX_DEADLINE:
        raise InvalidArgumentError(
            f"`deadline` is {deadline:g} s: must be from 0 to {MAX_DEADLINE / 86400:g} days"
        )
    return deadline
