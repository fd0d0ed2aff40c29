"""Draining a node: nothing new goes there, what is there moves, the deadline ends the rest.

Apps move by themselves, for their instances there are to be replaced
(``crew``, ``deployments``); attempts go on until the deadline, and are then
stopped and handed on. What is recorded is in the node's record, so that a
drain outlives the server, the node's agent and its disconnection.
"""

from __future__ import annotations

from dataclasses import replace

from callmesh_server.core import attempts, endings
from callmesh_server.core.actions import Action, PutNode, WakeAt
from callmesh_server.core.leftovers import leftovers
from callmesh_server.core.times import seconds, stamp
from callmesh_server.core.world import NOTHING, NodeKey, NodeState, World
from callmeshpb.v1.scheduler_pb2 import Node

# Seconds, where a drain does not name its own.
DEADLINE = 600.0


def begun(world: World, node: str, deadline: float | None, now: float) -> list[Action]:
    """Drain the node. ``deadline`` in seconds from now; None: the default, or as it is.

    One that is drained already gets the new deadline, if one is given.
    """
    state = world.nodes[node]
    if state.draining and deadline is None:
        return []
    record = Node()
    record.CopyFrom(state.record)
    before = record.drain.started_at if state.draining else stamp(now)
    until = now + (DEADLINE if deadline is None else deadline)
    record.ClearField("drain")
    record.drain.started_at.CopyFrom(before)
    record.drain.deadline_at.CopyFrom(stamp(until))
    return [PutNode(replace(state, record=record), durable=True), WakeAt(NodeKey(node), until)]


def undone(world: World, node: str) -> list[Action]:
    """Take the node back into use; what has left it stays where it is."""
    state = world.nodes[node]
    if not state.draining:
        return []
    record = Node()
    record.CopyFrom(state.record)
    record.ClearField("drain")
    return [PutNode(replace(state, record=record), durable=True)]


def at_deadline(world: World, state: NodeState, now: float) -> list[Action]:
    """When the deadline has come: note what is left, and have it end.

    Waits until the node has said what it has, or is lost: an attempt that
    ended meanwhile shall count as it ended.
    """
    if not state.draining or state.record.drain.expired:
        return []
    deadline = seconds(state.record.drain.deadline_at)
    if now < deadline:
        return [WakeAt(NodeKey(state.name), deadline)]
    if not state.lost and not (state.instances_complete and state.attempts_complete):
        return []
    record = Node()
    record.CopyFrom(state.record)
    record.drain.expired = True
    record.drain.ended.extend(leftovers(world, state.name, ending=True))
    actions: list[Action] = [PutNode(replace(state, record=record), durable=True)]
    why = f"node `{state.name}` is drained, and its deadline has come"
    for name in sorted(world.runs_on_node.get(state.name, NOTHING)):
        run = world.runs[name]
        attempt = attempts.current(run)
        if attempt is not None and not attempts.is_stopping(attempt):
            actions += endings.hand_on(run, why, now)
    return actions
