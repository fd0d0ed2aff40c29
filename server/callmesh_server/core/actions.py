"""The vocabulary of decisions: what the deciders return and the edge performs.

Actions are performed in the order of their list. Three kinds:

*State* actions change the `Ledger` (`Ledger.apply`, which says what has to be
decided again) and, after it, the store; watchers are told. A record that an
action carries belongs to the action: nobody changes it afterwards.

*Send* actions go into the outbox of a node's session. Where the node has no
session they are dropped: what matters is said again after it has reconnected.

*Loop* actions concern the loop alone.

``durable`` says whether anybody may be told something that depends on this
write before it is on disk. A write that is not durable is written with the
next group; losing it in a crash costs nothing but a repeated report.
"""

from __future__ import annotations

from dataclasses import dataclass

from callmesh_server.core.world import AppKey, Key, NodeState
from callmesh_wire.names import AppName
from callmeshpb.v1 import common_pb2, scheduler_pb2

__all__ = [
    "Action",
    "AppKey",
    "CloseSession",
    "MarkDirty",
    "NoteReported",
    "PutApp",
    "PutInstance",
    "PutNode",
    "PutRun",
    "RemoveApp",
    "RemoveInstance",
    "RemoveNode",
    "SendAck",
    "SendGo",
    "SendPrepare",
    "SendStop",
    "StateAction",
    "WakeAt",
]


@dataclass(frozen=True, slots=True)
class PutApp:
    """Replace (or add) an app's record."""

    app: scheduler_pb2.App
    durable: bool = True


@dataclass(frozen=True, slots=True)
class RemoveApp:
    """Forget a deleted app: no instance is left. Its mesh port becomes a tombstone."""

    name: AppName


@dataclass(frozen=True, slots=True)
class PutInstance:
    """Place an instance, change what is meant for it, or note what its node reported.

    Placements and intents are durable, reports are not.
    """

    instance: scheduler_pb2.Instance
    durable: bool = True


@dataclass(frozen=True, slots=True)
class RemoveInstance:
    """Forget an instance: its node has said that it is gone, or the node is lost."""

    id: str


@dataclass(frozen=True, slots=True)
class PutRun:
    """Replace a run's record. A run whose phase is final leaves the `World`.

    The end of a run is durable: it is committed before a watcher, a submitter
    or the node (`SendAck`) hears of it.
    """

    run: scheduler_pb2.Run
    durable: bool = True


@dataclass(frozen=True, slots=True)
class PutNode:
    """Replace a node's state. Only `NodeState.record` is stored; leases are not.

    What a user asked for is durable, what the node says of itself is not.
    """

    node: NodeState
    durable: bool = False


@dataclass(frozen=True, slots=True)
class RemoveNode:
    """Forget a node. Nothing may be recorded on it any more."""

    name: str


@dataclass(frozen=True, slots=True)
class NoteReported:
    """The node has reported this attempt, or instance (`instance_mark`), in its session.

    Not stored.
    """

    node: str
    run: str
    fence: tuple[int, int]


@dataclass(frozen=True, slots=True)
class SendPrepare:
    """Send the `AttemptOrder` of the run's attempt ``number``; at once, before the commit."""

    node: str
    run: str
    number: int


@dataclass(frozen=True, slots=True)
class SendGo:
    """Send `AttemptGo` once every durable write of this run that came before is committed.

    May be repeated.
    """

    node: str
    run: str
    fence: common_pb2.Fence


@dataclass(frozen=True, slots=True)
class SendStop:
    """Send `AttemptStop`; ``grace`` is in seconds. May be repeated."""

    node: str
    run: str
    fence: common_pb2.Fence
    reason: str
    grace: float


@dataclass(frozen=True, slots=True)
class SendAck:
    """Send `AttemptAck` once every durable write of this run that came before is committed."""

    node: str
    run: str
    fence: common_pb2.Fence


@dataclass(frozen=True, slots=True)
class CloseSession:
    """End the node's session: it is silent, or the node may not go on with it."""

    node: str
    reason: str


@dataclass(frozen=True, slots=True)
class WakeAt:
    """Decide ``key`` again at ``at`` (epoch seconds) or a little later.

    A later wake for the same key does not cancel an earlier one.
    """

    key: Key
    at: float


@dataclass(frozen=True, slots=True)
class MarkDirty:
    """Decide ``key`` again, after the actions of this list."""

    key: Key


StateAction = (
    PutApp | RemoveApp | PutInstance | RemoveInstance | PutRun | PutNode | RemoveNode | NoteReported
)
Action = StateAction | SendPrepare | SendGo | SendStop | SendAck | CloseSession | WakeAt | MarkDirty
