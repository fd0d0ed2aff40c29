"""Which waiting run goes next.

Runs wait in one queue per demand, in the order of their arrival. The more
deeply nested goes first: every ancestor holds a worker until it has ended, so
finishing trees that have begun frees more than beginning new ones; nested maps
finish on a single slot, with no more workers at once than they are deep. Among
equals the older goes first.

A run that does not fit does not hold up those behind it, with one exception: a
run without a parent that only waits for memory or cores *in use* holds back
younger ones that ask for memory or cores too. Otherwise a stream of small runs
would keep a big one waiting for ever. Children are never held back: what they
wait for may be held by their own parents.
"""

from __future__ import annotations

from dataclasses import dataclass

from callmesh_server.core import conditions, placement
from callmesh_server.core.placement import Placement
from callmesh_server.core.world import Demand, World
from callmesh_wire.names import AppName
from callmeshpb.v1 import scheduler_pb2


@dataclass(frozen=True, slots=True)
class Turn:
    """The run that goes next, and where."""

    run: str
    node: str


def next_turn(world: World) -> Turn | None:
    """The first run in order that fits a node now, or None."""
    held_back = False
    for demand in _in_order(world):
        heavy = bool(demand.memory or demand.cpu)
        if (held_back and heavy and not demand.depth) or gate(world, demand):
            continue
        if node := placement.node_for_run(world, demand):
            return Turn(next(iter(world.waiting[demand])), node)
        if heavy and not demand.depth and not held_back:
            held_back = placement.pick_for_run(world, demand).busy
    return None


def why_waiting(world: World, demand: Demand) -> str:
    """Why runs of this demand wait, as a sentence that names every node or app."""
    waits = gate(world, demand)
    if waits:
        return waits
    found: Placement = placement.pick_for_run(world, demand)
    return "older runs go first" if found.node else found.why


def gate(world: World, demand: Demand) -> str:
    """Which apps of ``depends_on`` hold the run back, or "".

    Only an app that is to run and was never ready does; one that does not
    exist here is the caller's own affair.
    """
    if not demand.depends_on:
        return ""
    return "; ".join(
        f"waits for app `{each.name}`, which is not ready yet{_detail(world, each)}"
        for each in demand.depends_on
        if _is_unready(world, each)
    )


def _is_unready(world: World, name: AppName) -> bool:
    app = world.apps.get(name)
    return (
        app is not None
        and not app.deleting
        and app.desired_state == scheduler_pb2.DESIRED_STATE_ACTIVE
        and app.serving_revision == 0
    )


def _detail(world: World, name: AppName) -> str:
    ready = conditions.find(world.apps[name], conditions.READY)
    return f": {ready.message}" if ready is not None and ready.message else ""


def _in_order(world: World) -> list[Demand]:
    waiting = world.waiting
    if len(waiting) < 2:
        return list(waiting)
    return sorted(waiting, key=lambda demand: (-demand.depth, next(iter(waiting[demand].values()))))
