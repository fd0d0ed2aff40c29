"""Whether a node may join: the checks of its hello, each with what to do."""

from __future__ import annotations

import hashlib
import ipaddress

from callmesh_server.core.times import seconds
from callmesh_server.core.world import NodeState, World
from callmesh_wire.names import NameProblem, check_label, check_node, check_zone
from callmeshpb.v1.node_pb2 import NodeHello

PROTOCOL_VERSION = 1
OLDEST_PROTOCOL_VERSION = 1
# Seconds between a node's clock and the server's.
MOST_SKEW = 60.0
MOST_LABELS = 64


def refusal(hello: NodeHello, world: World, now: float) -> str:
    """Why the node may not join, or empty."""
    try:
        check_node(hello.node)
        _check_place(hello)
    except NameProblem as problem:
        return str(problem)
    return (
        _other_version(hello) or _clock_wrong(hello, now) or _taken(hello, world, now)
        or _address_wrong(hello, world, now)
    )  # fmt: skip


def _check_place(hello: NodeHello) -> None:
    if hello.zone:
        check_zone(hello.zone)
    if len(hello.labels) > MOST_LABELS:
        raise NameProblem(
            f"node `{hello.node}` has {len(hello.labels)} labels: must be at most {MOST_LABELS}"
        )
    for key, value in hello.labels.items():
        check_label(key, value)


def key_digest(hello: NodeHello) -> bytes:
    """What is kept of a node's key; empty for one without."""
    return hashlib.sha256(hello.key.encode()).digest() if hello.key else b""


def _other_version(hello: NodeHello) -> str:
    if OLDEST_PROTOCOL_VERSION <= hello.protocol_version <= PROTOCOL_VERSION:
        return ""
    return (
        f"node `{hello.node}` speaks protocol {hello.protocol_version}, and this server "
        f"{OLDEST_PROTOCOL_VERSION} to {PROTOCOL_VERSION}: install the same version of "
        "callmesh on both"
    )


def _clock_wrong(hello: NodeHello, now: float) -> str:
    if not hello.HasField("sent_at"):
        return ""
    skew = seconds(hello.sent_at) - now
    if abs(skew) <= MOST_SKEW:
        return ""
    way = "ahead of" if skew > 0 else "behind"
    return (
        f"the clock of node `{hello.node}` is {abs(skew):.0f} s {way} this server's: set both by "
        f"a time service (NTP); up to {MOST_SKEW:.0f} s are accepted"
    )


def _is_gone(state: NodeState, now: float) -> bool:
    """Nothing was heard of it for a lease: its name and address are free."""
    return state.lost or now >= state.heard_until


def _taken(hello: NodeHello, world: World, now: float) -> str:
    known = world.nodes.get(hello.node)
    if known is None or _is_gone(known, now) or not known.record.key_digest:
        return ""
    if known.record.key_digest == key_digest(hello):
        return ""
    where = f" at `{known.record.address}`" if known.record.address else ""
    return (
        f"another machine{where} is node `{hello.node}`: choose another name with `--name`; if it "
        "is gone, its name is free once its lease is over"
    )


def _address_wrong(hello: NodeHello, world: World, now: float) -> str:
    if not hello.address:
        return ""
    try:
        address = ipaddress.ip_address(hello.address)
    except ValueError:
        return (
            f"the address of node `{hello.node}` is `{hello.address}`: must be an IP address that "
            "other nodes reach, as `--address 10.0.0.5`"
        )
    if address.is_unspecified or address.is_multicast:
        return (
            f"nobody can call node `{hello.node}` at `{hello.address}`: name one of its own "
            "addresses with `--address`"
        )
    for name, other in world.nodes.items():
        if (
            name != hello.node
            and not _is_gone(other, now)
            and other.record.address == hello.address
        ):
            return (
                f"node `{name}` has the address `{hello.address}` already: give node "
                f"`{hello.node}` its own with `--address`"
            )
    return ""
