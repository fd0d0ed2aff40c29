"""Placement: the best node, and a reason for each that is not."""

from __future__ import annotations

from core_world import MIB, Core, app_spec, task
from hypothesis import given
from hypothesis import strategies as st

from callmesh_server.core import actions as do
from callmesh_server.core import draining
from callmesh_server.core.placement import (
    NO_NODE,
    Placement,
    Rejection,
    pick_for_instance,
    pick_for_run,
)
from callmesh_server.core.world import NO_USAGE, Demand
from callmesh_wire.names import AppName
from callmeshpb.v1 import common_pb2
from callmeshpb.v1 import scheduler_pb2 as pb

WEB = AppName("default", "development", "web")


def test_no_node_says_how_to_start_one():
    found = pick_for_run(Core().world, Demand())
    assert found == Placement()
    assert found.why == NO_NODE


def test_the_node_with_most_free_slots_takes_a_run(core):
    core.join("n2", slots=5)
    assert pick_for_run(core.world, Demand()) == Placement("n2")
    core.submit("r1", task())
    assert pick_for_run(core.world, Demand()) == Placement("n1")


def test_every_node_gives_its_reason(core):
    core.join("n2", slots=0)
    core.join("n3", complete=False)
    core.join("n4")
    core.leave("n4")
    core.apply(draining.begun(core.world, "n1", None, core.now))
    found = pick_for_run(core.world, Demand())
    assert found.rejections == (
        Rejection("n1", "takes no new work: it is draining"),
        Rejection("n2", "has 0 of 0 slots in use"),
        Rejection("n3", "has just connected and is still reporting", busy=True),
        Rejection("n4", "is not connected"),
    )
    assert found.why.startswith("node `n1` takes no new work: it is draining; node `n2` has")


def test_memory_is_reserved_by_instances_and_attempts(core):
    core.deploy(app_spec("other", resources={"memory": 400 * MIB}))
    core.submit("r1", task("e.b", resources={"memory": 300 * MIB}))
    assert pick_for_run(core.world, Demand(memory=300 * MIB)).node == "n1"
    found = pick_for_run(core.world, Demand(memory=301 * MIB))
    assert found.busy
    assert found.why == (
        "node `n1` has 300 MiB of 1000 MiB memory unreserved, and 301 MiB is asked for"
    )
    assert not pick_for_run(core.world, Demand(memory=2000 * MIB)).busy


def test_cpu_is_a_weight_on_a_laptop_and_reserved_elsewhere():
    core = Core()
    core.join("laptop", cpu=2.0)
    assert pick_for_run(core.world, Demand(cpu=64)).node == "laptop"
    core = Core()
    core.join("strict", cpu=2.0, shared_cpu=False)
    assert pick_for_run(core.world, Demand(cpu=2.0)).node == "strict"
    assert pick_for_run(core.world, Demand(cpu=2.5)).why == (
        "node `strict` has 2 of 2 cores unreserved, and 2.5 are asked for"
    )


def test_a_python_version_matters_on_a_strict_node_only():
    core = Core()
    core.join("strict", shared_cpu=False)
    found = pick_for_run(core.world, Demand(python_version="3.14"))
    assert found.why == "node `strict` lacks Python 3.14; it has 3.11, 3.12"
    core.join("laptop")
    assert pick_for_run(core.world, Demand(python_version="3.14")).node == "laptop"


def test_a_gpu_is_refused_by_name(core):
    assert (
        "has no GPU, and `A100:1` is asked for"
        in pick_for_run(core.world, Demand(gpu="A100:1")).why
    )


def test_instances_spread_over_the_nodes(core):
    core.join("n2")
    core.deploy(app_spec(min_replicas=3))
    assert sorted(each.node for each in core.instances("web")) == ["n1", "n1", "n2"]
    assert pick_for_instance(core.world, WEB, app_spec(), 1).node == "n2"
    assert core.instances("web")[0].intent == pb.INSTANCE_INTENT_RUN


def test_each_revision_is_spread_whatever_is_leaving(core):
    for name in ("n2", "n3"):
        core.join(name)
    for revision in range(1, 5):
        core.deploy(app_spec(min_replicas=3, env_vars={"REVISION": str(revision)}))
        core.ready("web")
        here = [each for each in core.instances("web") if each.revision == revision]
        assert sorted(each.node for each in here) == ["n1", "n2", "n3"]
        # The drain is slow on one node.
        for each in core.instances("web"):
            if each.intent != pb.INSTANCE_INTENT_RUN and each.node != "n2":
                core.gone(each.id)
    assert [each.node for each in core.instances("web") if each.revision < 4] == ["n2"] * 3


def test_surplus_leaves_the_fullest_node(core):
    core.join("n2")
    core.deploy(app_spec(min_replicas=4))
    core.ready("web")
    core.perform([do.PutInstance(moved(each)) for each in core.instances("web")[:1]])
    assert len([each for each in core.instances("web") if each.node == "n1"]) == 1
    core.update("web", scale={"min_replicas": 2})
    core.all_gone("web")
    assert sorted(each.node for each in core.instances("web")) == ["n1", "n2"]


def moved(instance: pb.Instance) -> pb.Instance:
    """The same, had it been placed on the other node."""
    after = pb.Instance()
    after.CopyFrom(instance)
    after.node = "n2"
    return after


def test_a_run_may_ask_for_more_than_its_task() -> None:
    core = Core()
    core.join(slots=8, memory=8 << 30)
    asked = common_pb2.Resources(memory=6 << 30)
    core.submit("r1", task(), resources=asked)
    core.submit("r2", task(), resources=asked)
    core.submit("r3", task())
    assert [len(core.run(name).attempts) for name in ("r1", "r2", "r3")] == [1, 0, 1]
    core.attempt("r1", pb.ATTEMPT_PHASE_RUNNING)
    core.attempt("r1", pb.ATTEMPT_PHASE_SUCCEEDED)
    assert core.run("r2").attempts
    assert core.world.usage["n1"].memory == 6 << 30


def reference(world, name, spec):
    """The rule in words: of the nodes that fit, fewest of the app, then fewest, then by name."""
    own = world.instances_of_app.get(name, frozenset())
    rejected = set()
    while len(rejected) < len(world.nodes):
        best = min(
            (len(own & here), len(here), node)
            for node in world.nodes
            if node not in rejected
            for here in [world.instances_on_node.get(node, frozenset())]
        )[2]
        free = world.nodes[best].record.capacity.memory - world.usage.get(best, NO_USAGE).memory
        if spec.resources.memory <= free and world.nodes[best].connected:
            return best
        rejected.add(best)
    return ""


@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=5),
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 3)), max_size=12),
    st.lists(st.integers(0, 40), max_size=4),
)
def test_the_first_that_fits_in_order_is_the_best(memories, placed, left):
    core = Core()
    for number, memory in enumerate(memories):
        core.join(f"n{number}", memory=memory * MIB)
    for number, (app, memory) in enumerate(placed):
        spec = app_spec(app, resources={"memory": memory * MIB})
        name = AppName("default", "development", app)
        core.ledger.apply(do.PutApp(pb.App(spec=spec, revision=1)))
        chosen = pick_for_instance(core.world, name, spec, 1).node
        assert chosen == reference(core.world, name, spec)
        if chosen:
            core.ledger.apply(do.PutInstance(instance(app, number, chosen)))
        for each in left:
            if each == number:
                core.ledger.apply(do.RemoveInstance(f"{placed[0][0]}-0"))
                core.leave(chosen or "n0")


def instance(app, number, node):
    return pb.Instance(
        id=f"{app}-{number}", project="default", domain="development", app=app, revision=1,
        node=node, intent=pb.INSTANCE_INTENT_RUN,
    )  # fmt: skip


def test_of_many_nodes_the_first_tell_why():
    core = Core()
    for number in range(25):
        core.join(f"n{number:02d}", slots=0)
    why = pick_for_run(core.world, Demand()).why
    assert why.count("has 0 of 0 slots in use") == 10
    assert why.endswith("; 15 more nodes do not take it")
