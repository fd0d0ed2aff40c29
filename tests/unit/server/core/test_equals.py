"""Equal runs at the same time: `Cache(serialize=True)`."""

from __future__ import annotations

from core_world import Core, task

from callmesh_server.core.runs import abort, why_waiting
from callmeshpb.v1 import common_pb2
from callmeshpb.v1 import scheduler_pb2 as pb

WORK = task()
VALUE = common_pb2.Value(json=b"42")
OK, FAILED, RUNNING = (
    pb.ATTEMPT_PHASE_SUCCEEDED,
    pb.ATTEMPT_PHASE_FAILED,
    pb.ATTEMPT_PHASE_RUNNING,
)


def three() -> Core:
    core = Core()
    core.join(slots=8)
    for name in ("r1", "r2", "r3"):
        core.submit(name, WORK, cache_key="k", cache_serialize=True)
    return core


def attempts(core: Core) -> dict[str, int]:
    return {name: len(run.attempts) for name, run in core.world.runs.items()}


def test_the_first_executes_and_the_others_share_its_result() -> None:
    core = three()
    assert attempts(core) == {"r1": 1, "r2": 0, "r3": 0}
    assert "run `r1`, which has equal inputs" in why_waiting(core.world, core.run("r3"))
    core.attempt("r1", RUNNING)
    core.attempt("r1", OK, outputs=[VALUE])
    for name in ("r2", "r3"):
        run = core.run(name)
        assert (run.phase, run.cached_from) == (pb.RUN_PHASE_SUCCEEDED, "r1")
        assert list(run.outputs) == [VALUE]
        assert not run.attempts
    assert not core.world.equals


def test_the_next_executes_when_the_first_fails_or_is_aborted() -> None:
    core = three()
    core.attempt("r1", RUNNING)
    core.attempt("r1", FAILED)
    assert attempts(core) == {"r2": 1, "r3": 0}
    core.perform(abort(core.world, "r2", "enough", core.now))
    assert attempts(core) == {"r3": 1}


def test_a_waiting_run_can_be_aborted_and_holds_nothing_up() -> None:
    core = three()
    core.perform(abort(core.world, "r2", "", core.now))
    core.submit("other", WORK, cache_key="other", cache_serialize=True)
    core.submit("plain", WORK, cache_key="k")
    assert attempts(core) == {"r1": 1, "r3": 0, "other": 1, "plain": 1}


def test_a_run_does_not_wait_for_one_that_it_is_nested_in() -> None:
    core = three()
    core.attempt("r1", RUNNING)
    core.submit("child", WORK, parent="r1", cache_key="k", cache_serialize=True)
    assert attempts(core)["child"] == 1
