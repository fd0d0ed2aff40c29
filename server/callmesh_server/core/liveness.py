"""Nodes: joining, leases, and when what is not heard of counts as gone.

A node's session is its only sign of life. Absence is a fact only after the
node has said that its report is complete, or after its lease is over.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from callmesh_server.core import attempts, draining, endings
from callmesh_server.core.actions import (
    Action,
    CloseSession,
    MarkDirty,
    PutNode,
    RemoveInstance,
    RemoveNode,
    WakeAt,
)
from callmesh_server.core.instances import forgotten, instance_mark, out_of_sight
from callmesh_server.core.joining import key_digest
from callmesh_server.core.times import stamp
from callmesh_server.core.world import (
    NOTHING,
    NodeKey,
    NodeState,
    RunKey,
    World,
    fence_of,
)
from callmeshpb.v1.common_pb2 import Condition, StorageUse
from callmeshpb.v1.node_pb2 import NodeHello
from callmeshpb.v1.scheduler_pb2 import Node


def remembered(record: Node, now: float, lease: float) -> NodeState:
    """A stored node when the server starts: it has a full lease to come back."""
    if not record.HasField("away_since"):
        record.away_since.CopyFrom(stamp(now))
    until = now + lease
    return NodeState(record=record, lease_until=until, heard_until=until, lease=lease)


def joined(world: World, hello: NodeHello, now: float, lease: float) -> list[Action]:
    """A node's session has begun; it replaces an earlier one of the same node."""
    before = world.nodes.get(hello.node)
    record = Node(
        name=hello.node,
        address=hello.address,
        zone=hello.zone,
        labels=hello.labels,
        capacity=hello.capacity,
        version=hello.version,
    )
    record.key_digest = key_digest(hello)
    record.joined_at.CopyFrom(before.record.joined_at if before is not None else stamp(now))
    if before is not None and before.draining:
        record.drain.CopyFrom(before.record.drain)
    state = NodeState(
        record=record,
        connected=True,
        session=before.session + 1 if before is not None else 1,
        incarnation=hello.incarnation,
        lease_until=now + lease,
        heard_until=now + lease,
        lease=lease,
        heard=before.heard if before is not None else not world.instances_on_node.get(hello.node),
    )
    return [PutNode(state), WakeAt(NodeKey(hello.node), state.lease_until)]


def disconnected(world: World, node: str, now: float) -> list[Action]:
    """The node's session has ended (and was not replaced by a newer one).

    Its lease runs on: what is on the node counts until then.
    """
    state = world.nodes.get(node)
    if state is None or not state.connected:
        return []
    after = replace(
        state,
        record=_away(state.record, now),
        connected=False,
        instances_complete=False,
        attempts_complete=False,
    )
    return [PutNode(after), WakeAt(NodeKey(node), state.lease_until)]


def instances_complete(world: World, node: str, now: float) -> list[Action]:
    """The node has reported every instance it has; the others are not there."""
    state = world.nodes.get(node)
    if state is None:
        return []
    reported = world.reported.get(node, frozenset())
    actions: list[Action] = []
    for identifier in sorted(world.instances_on_node.get(node, NOTHING)):
        if instance_mark(identifier) not in reported:
            actions += forgotten(world.instances[identifier], now)
    after = replace(state, instances_complete=True, heard=True, complete_since=now)
    return [*actions, PutNode(after)]


def attempts_complete(world: World, node: str, now: float) -> list[Action]:
    """The node has reported every attempt it has; the others are lost."""
    state = world.nodes.get(node)
    if state is None:
        return []
    reported = world.reported.get(node, frozenset())
    actions: list[Action] = []
    for name in sorted(world.runs_on_node.get(node, NOTHING)):
        run = world.runs[name]
        attempt = attempts.current(run)
        if attempt is not None and (name, *fence_of(attempt.fence)) not in reported:
            why = f"node `{node}` came back without it"
            actions += endings.attempt_lost(world, endings.copied(run), why, now)
        else:
            actions.append(MarkDirty(RunKey(name)))
    return [*actions, PutNode(replace(state, attempts_complete=True))]


def conditions_reported(
    world: World,
    node: str,
    conditions: Iterable[Condition],
    storage: Iterable[StorageUse] = (),
) -> list[Action]:
    """The node's own conditions, all of them, and what it keeps on its disk."""
    state = world.nodes.get(node)
    if state is None:
        return []
    record = Node()
    record.CopyFrom(state.record)
    del record.conditions[:]
    record.conditions.extend(conditions)
    del record.storage[:]
    record.storage.extend(storage)
    return [] if record == state.record else [PutNode(replace(state, record=record))]


def reconcile(world: World, node: str, now: float) -> list[Action]:
    """Give a node up when its lease is over, and end its drain at the deadline.

    While no node at all is heard of, none is given up.

    The caller has taken in every message that came before ``now``.
    """
    state = world.nodes.get(node)
    if state is None:
        return []
    if state.lost:
        return draining.at_deadline(world, state, now)
    look_at = state.lease_until
    granted: list[Action] = []
    if now >= state.heard_until and _hears_nobody(world, now):
        look_at -= 0.75 * state.lease
        if now >= look_at:
            granted = [PutNode(replace(state, lease_until=now + state.lease))]
            look_at = now + 0.25 * state.lease
    elif now >= state.lease_until:
        return _lost(world, state, now)
    return [*granted, WakeAt(NodeKey(node), look_at), *draining.at_deadline(world, state, now)]


def removed(world: World, node: str, now: float) -> list[Action]:
    """Forget a node that is not connected; what was on it is replaced.

    Its agent, should it come back, joins as a new node, and is told to end
    what it has.
    """
    why = f"node `{node}` was deleted"
    actions: list[Action] = []
    for name in sorted(world.runs_on_node.get(node, NOTHING)):
        actions += endings.attempt_lost(world, endings.copied(world.runs[name]), why, now)
    for identifier in sorted(world.instances_on_node.get(node, NOTHING)):
        actions.append(RemoveInstance(identifier))
    return [*actions, RemoveNode(node)]


def _hears_nobody(world: World, now: float) -> bool:
    """Whether several nodes have fallen silent at once: then it is this server that is cut off.

    Nothing is known of any of them. Once one is heard again, the others have
    most of a lease left to come back. A living node is heard three times a lease.
    """
    living = [each for each in world.nodes.values() if not each.lost]
    return len(living) > 1 and all(now > each.heard_until - each.lease / 2 for each in living)


def _lost(world: World, state: NodeState, now: float) -> list[Action]:
    node = state.name
    why = f"node `{node}` was not heard of within its lease"
    actions: list[Action] = [CloseSession(node, why)] if state.connected else []
    actions.append(
        PutNode(
            replace(
                state,
                record=_away(state.record, now),
                connected=False,
                lost=True,
                instances_complete=False,
                attempts_complete=False,
            )
        )
    )
    for identifier in sorted(world.instances_on_node.get(node, NOTHING)):
        actions += out_of_sight(world.instances[identifier], why, now)
    for name in sorted(world.runs_on_node.get(node, NOTHING)):
        run = endings.copied(world.runs[name])
        actions += endings.attempt_lost(world, run, why, now)
    return actions


def _away(record: Node, now: float) -> Node:
    """The record of a node whose session ended, by now at the latest."""
    after = Node()
    after.CopyFrom(record)
    if not after.HasField("away_since"):
        after.away_since.CopyFrom(stamp(now))
    return after


def is_settled(world: World) -> bool:
    """Whether every node has been heard once since the start, or is lost.

    Before that, the mesh view would leave out what is running well.
    """
    return all(each.heard or each.lost for each in world.nodes.values())
