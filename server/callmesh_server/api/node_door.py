"""Who calls on the port for nodes: an agent, or a workload through it."""

from __future__ import annotations

import hmac
from collections.abc import Callable

import grpc.aio
from google.protobuf.message import DecodeError

from callmesh_server.api.caller import Caller, CallerKind
from callmesh_server.core.joining import key_digest
from callmesh_server.core.world import World
from callmesh_wire.channel import CALLER
from callmesh_wire.errors import PermissionDeniedError, UnauthenticatedError
from callmesh_wire.methods import WORKLOAD_METHODS, Method
from callmeshpb.v1 import node_pb2

# What agents call for themselves.
_OF_NODES = ("Session", "Pages", "Download")
METHODS = WORKLOAD_METHODS | {"NodeService/Session", "NodeService/Pages"}


def caller_of(
    method: Method,
    context: grpc.aio.ServicerContext,
    world: World,
    person_of: Callable[[str], str],
) -> Caller:
    """The caller of one call. ``person_of`` checks what a workload shows of a person.

    A session proves its node in its hello. Raises `UnauthenticatedError` for
    an agent that is not the node it says.
    """
    said = node_pb2.ForwardedCaller()
    for key, value in context.invocation_metadata() or ():
        if key == CALLER:
            try:
                said.ParseFromString(value)
            except DecodeError:
                raise UnauthenticatedError("this call does not say for whom it is") from None
    if method.name != "Session":
        state = world.nodes.get(said.node)
        known = state.record.key_digest if state is not None else b""
        proof = key_digest(node_pb2.NodeHello(key=said.key))
        if not known or not hmac.compare_digest(known, proof):
            raise UnauthenticatedError(
                f"this is not node `{said.node}` as it has joined: start its agent with its own "
                "state folder"
            )
    if not said.workload:
        if method.name not in _OF_NODES:
            raise PermissionDeniedError(
                f"a node's agent may not call `{method.name}` for itself: a workload may"
            )
        return Caller(kind=CallerKind.NODE, node=said.node)
    return Caller(
        kind=CallerKind.WORKLOAD,
        node=said.node,
        run=said.run,
        app=said.app,
        project=said.project,
        domain=said.domain,
        acts_for=person_of(said.authorization),
    )
