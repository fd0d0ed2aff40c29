"""What one placement costs, by the number of nodes: the core alone, no process."""

from __future__ import annotations

import time
from collections.abc import Callable

from callmesh_server.core import actions as do
from callmesh_server.core import revisions
from callmesh_server.core.ledger import Ledger
from callmesh_server.core.placement import node_for_run, pick_for_instance, pick_for_run
from callmesh_server.core.world import Demand, NodeState
from callmesh_wire.names import AppName
from callmeshpb.v1 import common_pb2
from callmeshpb.v1 import scheduler_pb2 as pb

SIZES = (10, 100, 1000)
PER_NODE = 10
REPLICAS = 20
ROUNDS = 5
MOST = 0.3


def placing() -> str:
    """A Markdown table, one size a column."""
    columns = [_costs(size) for size in SIZES]
    lines = [
        "| one placement, µs | " + " | ".join(f"{size:,} nodes" for size in SIZES) + " |",
        "|---|" + "---|" * len(SIZES),
    ]
    for row in columns[0]:
        lines.append(f"| {row} | " + " | ".join(f"{column[row]:.0f}" for column in columns) + " |")
    return "\n".join(lines)


def _costs(nodes: int) -> dict[str, float]:
    ledger = _filled(nodes)
    world = ledger.world
    spec = _spec(0)
    name = AppName("default", "development", spec.name)
    huge = pb.AppSpec(name="huge", resources=common_pb2.Resources(memory=2**50))
    return {
        "an instance": _micros(lambda: pick_for_instance(world, name, spec, 1)),
        "an instance that fits nowhere, and why": _micros(
            lambda: pick_for_instance(world, name, huge, 1)
        ),
        "a run": _micros(lambda: node_for_run(world, Demand(memory=2**20))),
        "why a run fits nowhere": _micros(lambda: pick_for_run(world, Demand(memory=2**50))),
    }


def _filled(nodes: int) -> Ledger:
    """Nodes with ten instances each, of apps with twenty."""
    ledger = Ledger()
    for number in range(nodes):
        capacity = pb.NodeCapacity(cpu=16, memory=2**36, slots=8, python_versions=["3.11"])
        record = pb.Node(name=f"n{number:05d}", capacity=capacity)
        ledger.apply(
            do.PutNode(
                NodeState(
                    record=record,
                    connected=True,
                    session=1,
                    instances_complete=True,
                    attempts_complete=True,
                    heard=True,
                )
            )
        )
    for number in range(nodes * PER_NODE // REPLICAS):
        spec = _spec(number)
        ledger.apply(do.PutApp(revisions.deployed(None, spec, 20_000 + number, 0.0)))
        name = AppName("default", "development", spec.name)
        for each in range(REPLICAS):
            found = pick_for_instance(ledger.world, name, spec, 1)
            instance = pb.Instance(
                id=f"{spec.name}-1-{each:05d}",
                project="default",
                domain="development",
                app=spec.name,
                revision=1,
                node=found.node,
                intent=pb.INSTANCE_INTENT_RUN,
            )
            ledger.apply(do.PutInstance(instance))
    return ledger


def _spec(number: int) -> pb.AppSpec:
    return pb.AppSpec(
        project="default",
        domain="development",
        name=f"app-{number:04d}",
        min_replicas=REPLICAS,
        resources=common_pb2.Resources(memory=2**28, cpu=0.1),
    )


def _micros(call: Callable[[], object]) -> float:
    """The best mean of a few rounds."""
    best = float("inf")
    for _ in range(ROUNDS):
        count, began = 0, time.perf_counter()
        while (took := time.perf_counter() - began) < MOST / ROUNDS:
            call()
            count += 1
        best = min(best, took / count)
    return best * 1e6


if __name__ == "__main__":
    print(placing())
