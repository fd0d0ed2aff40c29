"""The ledger's indexes equal what the records say, after any story."""

from __future__ import annotations

from core_world import MIB, app_spec, task
from hypothesis import given
from hypothesis import strategies as st

from callmesh_server.core import actions as do
from callmesh_server.core import attempts
from callmesh_server.core.ledger import Ledger
from callmesh_server.core.times import stamp
from callmesh_server.core.world import NO_USAGE, AppKey, NodeState, QueueKey, RunKey, Usage, World
from callmesh_wire.names import AppName
from callmeshpb.v1 import scheduler_pb2 as pb

RUNS = st.builds(
    lambda name, parent, phase, node, attempt, later: (name, parent, phase, node, attempt, later),
    st.integers(0, 4),
    st.integers(-1, 4),
    st.sampled_from(sorted(pb.RunPhase.values())[1:]),
    st.sampled_from(["n1", "n2"]),
    st.sampled_from(sorted(pb.AttemptPhase.values())),
    st.booleans(),
)


def a_run(fields: tuple[int, int, int, str, int, bool]) -> pb.Run:
    name, parent, phase, node, attempt, later = fields
    run = pb.Run(
        name=f"r{name}",
        # The parent of a run never changes.
        parent=f"r{name - 1}" if name % 2 and parent >= -1 else "",
        project="default",
        domain="development",
        task="env.work",
        task_version="v1",
        phase=phase,
    )
    if attempt:
        run.attempts.add(number=1, node=node, phase=attempt)
    if later:
        run.next_attempt_at.CopyFrom(stamp(5.0))
    return run


def check(world: World) -> None:
    active = {
        name: attempts.current(run)
        for name, run in world.runs.items()
        if attempts.current(run) is not None
    }
    for node in ("n1", "n2"):
        here = {name for name, attempt in active.items() if attempt.node == node}
        assert world.runs_on_node.get(node, set()) == here
        counted = sum(name not in world.children for name in here)
        memory = 7 * len(here)
        assert world.usage.get(node, NO_USAGE) == Usage(counted, memory, 0.5 * len(here))
    children: dict[str, set[str]] = {}
    for name, run in world.runs.items():
        if run.parent:
            children.setdefault(run.parent, set()).add(name)
    assert world.children == children
    waiting = {name for queue in world.waiting.values() for name in queue}
    assert waiting == {name for name, run in world.runs.items() if attempts.is_waiting(run)}
    for demand, queue in world.waiting.items():
        assert queue
        assert all(bool(world.runs[name].parent) == bool(demand.depth) for name in queue)


@given(st.lists(RUNS, max_size=25))
def test_run_indexes_match_the_records(story):
    ledger = Ledger()
    ledger.put_task(task(resources={"memory": 7, "cpu": 0.5}))
    for node in ("n1", "n2"):
        ledger.apply(do.PutNode(a_node(node)))
    for fields in story:
        ledger.apply(do.PutRun(a_run(fields)))
        check(ledger.world)
        used = ledger.world.usage
        free = sorted((used.get(n, NO_USAGE).slots - 8, n) for n in ("n1", "n2"))
        assert list(ledger.world.nodes_by_slots) == free


def a_node(name: str) -> NodeState:
    return NodeState(record=pb.Node(name=name, capacity=pb.NodeCapacity(slots=8)))


def instance(identifier: str, node: str, revision: int = 1) -> pb.Instance:
    return pb.Instance(
        id=identifier,
        project="default",
        domain="development",
        app="web",
        node=node,
        revision=revision,
        intent=pb.INSTANCE_INTENT_RUN,
    )


@given(
    st.lists(
        st.tuples(st.integers(0, 5), st.sampled_from(["n1", "n2"]), st.booleans()), max_size=25
    )
)
def test_instance_indexes_match_the_records(story):
    ledger = Ledger()
    spec = app_spec(resources={"memory": 3 * MIB})
    ledger.apply(do.PutApp(pb.App(spec=spec, revision=1)))
    ledger.apply(do.PutNode(a_node("n1")))
    where: dict[str, str] = {}
    for number, node, put in story:
        identifier = f"web-1-{number}"
        if put:
            where.setdefault(identifier, node)
            ledger.apply(do.PutInstance(instance(identifier, where[identifier])))
        else:
            where.pop(identifier, None)
            ledger.apply(do.RemoveInstance(identifier))
        world = ledger.world
        name = AppName("default", "development", "web")
        assert world.instances_of_app.get(name, set()) == set(where)
        for each in ("n1", "n2"):
            here = {key for key, value in where.items() if value == each}
            assert world.instances_on_node.get(each, set()) == here
            assert world.usage.get(each, NO_USAGE).memory == 3 * MIB * len(here)
        # Known nodes alone have a place in the orders: n2 joins in the end.
        on_first = list(where.values()).count("n1")
        assert list(world.nodes_by_instances) == [(on_first, "n1")]
    ledger.apply(do.PutNode(a_node("n2")))
    counted = sorted((list(where.values()).count(each), each) for each in ("n1", "n2"))
    assert list(ledger.world.nodes_by_instances) == counted


def test_a_new_run_is_to_be_decided_and_a_changed_one_is_not():
    ledger = Ledger()
    ledger.put_task(task())
    run = a_run((0, -1, pb.RUN_PHASE_QUEUED, "n1", 0, False))
    assert ledger.apply(do.PutRun(run)) == [RunKey("r0")]
    assert ledger.apply(do.PutRun(run)) == []


def test_what_frees_a_slot_wakes_the_queue():
    ledger = Ledger()
    ledger.put_task(task())
    busy = a_run((0, -1, pb.RUN_PHASE_RUNNING, "n1", pb.ATTEMPT_PHASE_RUNNING, False))
    ledger.apply(do.PutRun(busy))
    ledger.apply(do.PutRun(a_run((2, -1, pb.RUN_PHASE_QUEUED, "n1", 0, False))))
    ended = a_run((0, -1, pb.RUN_PHASE_SUCCEEDED, "n1", pb.ATTEMPT_PHASE_SUCCEEDED, False))
    assert ledger.apply(do.PutRun(ended)) == [QueueKey()]


def test_a_message_does_not_cost_a_run_its_place_in_the_queue():
    ledger = Ledger()
    ledger.put_task(task())
    for number in (0, 2):
        ledger.apply(do.PutRun(a_run((number, -1, pb.RUN_PHASE_QUEUED, "n1", 0, False))))
    ledger.apply(do.PutRun(a_run((0, -1, pb.RUN_PHASE_WAITING_FOR_RESOURCES, "n1", 0, False))))
    (queue,) = ledger.world.waiting.values()
    assert list(queue) == ["r0", "r2"]


def test_a_change_of_an_app_wakes_those_that_wait_for_it():
    ledger = Ledger()
    one = pb.App(spec=app_spec("one", depends_on=["two"]), revision=1)
    two = pb.App(spec=app_spec("two"), revision=1)
    ledger.apply(do.PutApp(one))
    assert AppKey(AppName("default", "development", "one")) in ledger.apply(do.PutApp(two))
