"""Runs: the queue, attempts, retries, limits, aborts, and reports of every kind."""

from __future__ import annotations

import pytest
from core_world import LEASE, MIB, Core, app_spec, fingerprint, seconds, task
from hypothesis import given
from hypothesis import strategies as st

from callmesh_server.core import actions as do
from callmesh_server.core import attempt_reports, attempts, liveness, runs
from callmesh_server.core.times import stamp
from callmesh_server.core.world import NO_USAGE, RunKey
from callmeshpb.v1 import common_pb2, node_pb2
from callmeshpb.v1 import scheduler_pb2 as pb

A, R = pb.AttemptPhase, pb.RunPhase
ERROR = common_pb2.Failure(type="ValueError", message="no", kind=common_pb2.FAILURE_KIND_USER)


def fence(counter: int, epoch: int = 1) -> common_pb2.Fence:
    return common_pb2.Fence(epoch=epoch, counter=counter)


def slots_used(core: Core, node: str = "n1") -> int:
    return core.world.usage.get(node, NO_USAGE).slots


def test_a_submitted_run_is_prepared_and_started_at_once(core):
    run = core.submit("r1", task())
    expected = pb.Run(
        name="r1",
        project="default",
        domain="development",
        task="env.work",
        task_version="v1",
        phase=pb.RUN_PHASE_INITIALIZING,
        created_at=stamp(1000.0),
        etag=1,
    )
    expected.attempts.add(
        number=1,
        node="n1",
        fence=fence(1),
        phase=pb.ATTEMPT_PHASE_DISPATCHED,
        created_at=stamp(1000.0),
    )
    assert run == expected
    assert core.take_sent() == [
        do.SendPrepare("n1", "r1", 1),
        do.SendGo("n1", "r1", fence(1)),
    ]


def test_running_is_noted_and_not_durable(core):
    run = core.submit("r1", task())
    report = node_pb2.AttemptReport(
        run="r1", number=1, fence=fence(1), phase=pb.ATTEMPT_PHASE_RUNNING, worker="w1"
    )
    (put,) = attempt_reports.reported(core.world, "n1", report, 1001.0)
    assert not put.durable
    assert put.run.phase == pb.RUN_PHASE_RUNNING
    assert put.run.started_at == stamp(1001.0)
    assert put.run.attempts[0].worker == "w1"
    assert run.phase == pb.RUN_PHASE_INITIALIZING


def test_a_result_ends_the_run_durably_and_is_acknowledged_after_it(core):
    core.submit("r1", task())
    value = common_pb2.Value(json=b"41")
    report = node_pb2.AttemptReport(
        run="r1", fence=fence(1), phase=pb.ATTEMPT_PHASE_SUCCEEDED, outputs=[value]
    )
    put, ack = attempt_reports.reported(core.world, "n1", report, 1001.0)
    assert put.durable
    assert put.run.phase == pb.RUN_PHASE_SUCCEEDED
    assert list(put.run.outputs) == [value]
    assert ack == do.SendAck("n1", "r1", fence(1))


def test_a_second_report_of_an_end_is_acknowledged_and_changes_nothing(core):
    core.submit("r1", task())
    core.attempt("r1", pb.ATTEMPT_PHASE_SUCCEEDED)
    core.take_sent()
    core.attempt("r1", pb.ATTEMPT_PHASE_FAILED, error=ERROR)
    assert core.take_sent() == [do.SendAck("n1", "r1", fence(1))]
    assert [each.phase for each in core.ended["r1"]] == [pb.RUN_PHASE_SUCCEEDED]


def test_a_returning_node_that_has_only_prepared_is_told_to_go_again(core):
    core.submit("r1", task())
    core.take_sent()
    core.attempt("r1", pb.ATTEMPT_PHASE_DISPATCHED)
    assert core.take_sent() == []
    core.leave()
    core.join(complete=False)
    core.attempt("r1", pb.ATTEMPT_PHASE_DISPATCHED)
    assert core.take_sent() == [do.SendGo("n1", "r1", fence(1))]


def test_what_an_attempt_waits_for_is_shown(core):
    core.submit("r1", task())
    core.attempt("r1", pb.ATTEMPT_PHASE_DISPATCHED, message="unpacking the bundle")
    assert core.run("r1").message == "unpacking the bundle"


def test_user_failures_use_up_the_retries_with_backoff(core):
    retries = pb.RetryPolicy(count=2, base=seconds(1), factor=3)
    core.submit("r1", task(retries=retries))
    core.attempt("r1", pb.ATTEMPT_PHASE_FAILED, error=ERROR)
    run = core.run("r1")
    assert (run.phase, run.next_attempt_at) == (pb.RUN_PHASE_QUEUED, stamp(1001.0))
    assert run.message == "attempt 1 failed (ValueError: no); retry 1 of 2 starts in 1 s"
    core.advance(1)
    core.renew()
    assert len(core.run("r1").attempts) == 2
    core.attempt("r1", pb.ATTEMPT_PHASE_FAILED, error=ERROR)
    core.advance(2.9)
    assert len(core.run("r1").attempts) == 2
    core.advance(0.2)
    core.attempt("r1", pb.ATTEMPT_PHASE_FAILED, error=ERROR)
    run = core.run("r1")
    assert (run.phase, run.error, run.message) == (pb.RUN_PHASE_FAILED, ERROR, "ValueError: no")
    assert [each.phase for each in run.attempts] == [pb.ATTEMPT_PHASE_FAILED] * 3


def test_the_runs_own_policy_replaces_the_tasks(core):
    policy = pb.RetryPolicy(count=0)
    core.submit("r1", task(retries=pb.RetryPolicy(count=5)), retries=policy)
    core.attempt("r1", pb.ATTEMPT_PHASE_FAILED, error=ERROR)
    assert core.run("r1").phase == pb.RUN_PHASE_FAILED


def test_a_non_recoverable_error_is_not_retried(core):
    core.submit("r1", task(retries=pb.RetryPolicy(count=5)))
    error = common_pb2.Failure(type="NonRecoverableError", non_recoverable=True)
    core.attempt("r1", pb.ATTEMPT_PHASE_FAILED, error=error)
    assert core.run("r1").phase == pb.RUN_PHASE_FAILED


def test_lost_attempts_are_tried_again_without_using_up_a_retry(core):
    core.submit("r1", task())
    for lost in range(1, 6):
        core.attempt("r1", pb.ATTEMPT_PHASE_LOST, message="its worker was killed")
        if lost > 1:
            assert core.run("r1").message == (
                f"attempt {lost} was lost (its worker was killed); the next starts in "
                f"{0.5 * 2 ** (lost - 2):g} s"
            )
        core.renew()
        core.advance(9)
        assert len(core.run("r1").attempts) == lost + 1
    core.attempt("r1", pb.ATTEMPT_PHASE_LOST, message="its worker was killed")
    run = core.run("r1")
    assert (run.phase, run.error.type) == (pb.RUN_PHASE_FAILED, "WorkerLost")
    assert run.message == "the mesh lost 6 attempts of it; the last: its worker was killed"


def test_the_first_lost_attempt_costs_no_wait(core):
    core.submit("r1", task())
    core.attempt("r1", pb.ATTEMPT_PHASE_LOST)
    assert len(core.run("r1").attempts) == 2


def test_a_system_failure_counts_as_lost(core):
    core.submit("r1", task())
    error = common_pb2.Failure(type="EnvironmentBroken", kind=common_pb2.FAILURE_KIND_SYSTEM)
    core.attempt("r1", pb.ATTEMPT_PHASE_FAILED, error=error)
    assert core.run("r1").attempts[0].phase == pb.ATTEMPT_PHASE_LOST


def test_a_late_report_of_a_lost_attempt_changes_nothing_and_is_ended(core):
    core.submit("r1", task())
    core.attempt("r1", pb.ATTEMPT_PHASE_LOST)
    core.take_sent()
    before = core.run("r1")
    core.attempt("r1", pb.ATTEMPT_PHASE_RUNNING, number=1)
    core.attempt("r1", pb.ATTEMPT_PHASE_SUCCEEDED, number=1)
    assert core.run("r1") == before
    reason = "the run has ended or is tried elsewhere"
    assert core.take_sent() == [
        do.SendStop("n1", "r1", fence(1), reason, 10.0),
        do.SendAck("n1", "r1", fence(1)),
    ]


def test_an_unknown_run_is_ended_on_the_node(core):
    report = node_pb2.AttemptReport(run="x", fence=fence(9), phase=pb.ATTEMPT_PHASE_RUNNING)
    (stop,) = attempt_reports.reported(core.world, "n1", report, core.now)
    assert (type(stop), stop.run, stop.fence) == (do.SendStop, "x", fence(9))
    report.phase = pb.ATTEMPT_PHASE_ABORTED
    assert attempt_reports.reported(core.world, "n1", report, core.now) == [
        do.SendAck("n1", "x", fence(9))
    ]


def test_a_report_from_another_node_changes_nothing(core):
    core.submit("r1", task())
    report = node_pb2.AttemptReport(run="r1", fence=fence(1), phase=pb.ATTEMPT_PHASE_SUCCEEDED)
    assert attempt_reports.reported(core.world, "n2", report, core.now) == [
        do.SendAck("n2", "r1", fence(1))
    ]


def test_runs_wait_for_slots_in_the_order_of_arrival(core):
    for each in range(6):
        core.submit(f"r{each}", task())
    assert slots_used(core) == 4
    assert core.run("r4").phase == pb.RUN_PHASE_WAITING_FOR_RESOURCES
    assert core.run("r5").message == "node `n1` has 4 of 4 slots in use"
    core.attempt("r2", pb.ATTEMPT_PHASE_SUCCEEDED)
    assert attempts.current(core.run("r4"))
    assert not attempts.current(core.run("r5"))


def test_a_run_that_waits_for_its_children_gives_its_slot_back():
    core = Core()
    core.join(slots=1)
    core.submit("parent", task())
    core.attempt("parent", pb.ATTEMPT_PHASE_RUNNING)
    core.submit("other", task())
    for each in range(100):
        core.submit(f"child{each}", task(), parent="parent")
    assert slots_used(core) == 1
    for _ in range(100):
        (child,) = [each for each in core.world.runs_on_node["n1"] if each.startswith("child")]
        core.submit(f"grand{child}", task(), parent=child)
        assert attempts.current(core.run(f"grand{child}"))
        core.attempt(f"grand{child}", pb.ATTEMPT_PHASE_SUCCEEDED)
        core.attempt(child, pb.ATTEMPT_PHASE_SUCCEEDED)
    assert slots_used(core) == 1
    assert not attempts.current(core.run("other"))
    core.attempt("parent", pb.ATTEMPT_PHASE_SUCCEEDED)
    assert attempts.current(core.run("other"))


def test_a_big_run_is_not_overtaken_for_ever_and_an_impossible_one_blocks_nobody(core):
    core.submit("impossible", task("e.x", resources={"memory": 2000 * MIB}))
    core.submit("small", task("e.s", resources={"memory": 300 * MIB}))
    core.submit("big", task("e.b", resources={"memory": 900 * MIB}))
    core.submit("later", task("e.s", resources={"memory": 300 * MIB}))
    core.submit("light", task("e.l"))
    assert attempts.current(core.run("small"))
    assert attempts.current(core.run("light"))
    assert not attempts.current(core.run("later"))
    assert core.run("later").message == "older runs go first"
    assert "and 1.953 GiB is asked for" in core.run("impossible").message
    core.attempt("small", pb.ATTEMPT_PHASE_SUCCEEDED)
    assert attempts.current(core.run("big"))
    core.attempt("big", pb.ATTEMPT_PHASE_SUCCEEDED)
    assert attempts.current(core.run("later"))


def test_a_run_waits_for_the_apps_that_its_environment_depends_on(core):
    core.deploy(app_spec("web"))
    core.submit("r1", task(depends_on=["web"]))
    assert core.run("r1").message.startswith("waits for app `web`, which is not ready yet: ")
    core.submit("r2", task("e.free"))
    assert attempts.current(core.run("r2"))
    core.ready("web")
    assert attempts.current(core.run("r1"))


def test_a_run_does_not_wait_for_an_app_that_is_not_there(core):
    core.submit("r1", task(depends_on=["elsewhere"]))
    assert attempts.current(core.run("r1"))


def test_an_attempt_that_runs_too_long_is_stopped_and_then_timed_out(core):
    core.submit("r1", task(timeouts={"max_runtime": seconds(5)}))
    core.attempt("r1", pb.ATTEMPT_PHASE_RUNNING)
    core.take_sent()
    core.advance(5)
    message = "ran longer than its `max_runtime` of 5 s"
    assert core.take_sent() == [do.SendStop("n1", "r1", fence(1), message, 10.0)]
    assert core.run("r1").phase == pb.RUN_PHASE_RUNNING
    core.attempt("r1", pb.ATTEMPT_PHASE_ABORTED)
    run = core.run("r1")
    assert run.phase == pb.RUN_PHASE_TIMED_OUT
    assert run.error.type == "MaxRuntimeExceeded"
    assert run.attempts[0].phase == pb.ATTEMPT_PHASE_TIMED_OUT


def test_a_timeout_uses_up_a_retry(core):
    limits = {"max_runtime": seconds(5)}
    core.submit("r1", task(timeouts=limits, retries=pb.RetryPolicy(count=1)))
    core.attempt("r1", pb.ATTEMPT_PHASE_RUNNING)
    core.advance(5)
    core.attempt("r1", pb.ATTEMPT_PHASE_ABORTED)
    assert len(core.run("r1").attempts) == 2


def test_a_result_that_arrives_while_it_is_being_stopped_counts(core):
    core.submit("r1", task(timeouts={"max_runtime": seconds(5)}))
    core.attempt("r1", pb.ATTEMPT_PHASE_RUNNING)
    core.advance(6)
    core.attempt("r1", pb.ATTEMPT_PHASE_SUCCEEDED)
    run = core.run("r1")
    assert run.phase == pb.RUN_PHASE_SUCCEEDED
    assert not run.attempts[0].HasField("error")


def test_an_attempt_that_cannot_be_stopped_is_given_up(core):
    core.submit("r1", task(timeouts={"max_runtime": seconds(5)}))
    core.attempt("r1", pb.ATTEMPT_PHASE_RUNNING)
    for _ in range(8):
        core.renew()
        core.advance(5)
    assert core.run("r1").phase == pb.RUN_PHASE_TIMED_OUT


def test_a_run_that_waits_too_long_is_timed_out_with_the_reason():
    core = Core()
    core.submit("r1", task(timeouts={"max_queued_time": seconds(3)}))
    core.advance(3)
    run = core.run("r1")
    assert (run.phase, run.error.type) == (pb.RUN_PHASE_TIMED_OUT, "MaxQueuedTimeExceeded")
    assert run.message == (
        "not started within its `max_queued_time` of 3 s: "
        "no node has joined: start one with `callmesh up`"
    )


def test_the_deadline_spans_all_attempts(core):
    core.submit("r1", task(timeouts={"deadline": seconds(8)}))
    core.attempt("r1", pb.ATTEMPT_PHASE_RUNNING)
    core.take_sent()
    core.advance(8)
    assert core.run("r1").error.type == "DeadlineExceeded"
    (stop,) = core.take_sent()
    assert isinstance(stop, do.SendStop)


def test_a_limit_is_not_held_against_a_run_before_its_node_has_spoken(core):
    core.submit("r1", task(timeouts={"deadline": seconds(8), "max_runtime": seconds(4)}))
    core.attempt("r1", pb.ATTEMPT_PHASE_RUNNING)
    core.leave()
    core.now += 9
    core.mark([RunKey("r1")])
    core.perform([])
    assert core.run("r1").phase == pb.RUN_PHASE_RUNNING
    core.join(complete=False)
    core.attempt("r1", pb.ATTEMPT_PHASE_SUCCEEDED)
    assert core.run("r1").phase == pb.RUN_PHASE_SUCCEEDED


def test_abort_ends_a_run_and_its_children_at_once(core):
    core.submit("p", task())
    core.submit("c", task(), parent="p")
    core.submit("g", task(), parent="c")
    core.take_sent()
    core.perform(runs.abort(core.world, "p", "asked by a user", core.now))
    assert [core.run(each).phase for each in "pcg"] == [pb.RUN_PHASE_ABORTED] * 3
    error = core.run("p").error
    assert (error.type, error.message) == ("Aborted", "asked by a user")
    assert core.run("p").message == "aborted: asked by a user"
    assert core.run("g").message == "aborted: its parent run `c` has ended"
    assert [each.run for each in core.take_sent()] == ["p", "c", "g"]
    assert slots_used(core) == 0
    assert runs.abort(core.world, "p", "", core.now) == []


def test_a_failed_parent_takes_its_children_along_and_a_succeeded_one_does_not(core):
    core.submit("p", task())
    core.submit("q", task())
    core.submit("pc", task(), parent="p")
    core.submit("qc", task(), parent="q")
    core.attempt("p", pb.ATTEMPT_PHASE_FAILED, error=ERROR)
    core.attempt("q", pb.ATTEMPT_PHASE_SUCCEEDED)
    assert core.run("pc").phase == pb.RUN_PHASE_ABORTED
    assert core.run("qc").phase == pb.RUN_PHASE_INITIALIZING


def test_a_run_of_a_task_that_is_not_known_fails_with_a_reason(core):
    run = pb.Run(name="r1", task="e.gone", task_version="v9", created_at=stamp(core.now))
    core.perform([do.PutRun(run)])
    assert core.run("r1").error.type == "TaskMissing"


def test_a_returning_node_ends_what_it_does_not_report(core):
    core.submit("kept", task())
    core.submit("lost", task())
    core.attempt("kept", pb.ATTEMPT_PHASE_RUNNING)
    core.leave()
    core.join(complete=False)
    core.submit("new", task())
    assert core.run("new").message == "node `n1` has just connected and is still reporting"
    core.attempt("kept", pb.ATTEMPT_PHASE_RUNNING)
    core.perform(liveness.attempts_complete(core.world, "n1", core.now))
    assert len(core.run("kept").attempts) == 1
    assert [each.phase for each in core.run("lost").attempts] == [
        pb.ATTEMPT_PHASE_LOST,
        pb.ATTEMPT_PHASE_DISPATCHED,
    ]
    assert attempts.current(core.run("new"))


def test_an_end_that_waited_for_the_server_tells_its_own_time(core):
    core.submit("r1", task())
    core.attempt("r1", pb.ATTEMPT_PHASE_RUNNING)
    core.leave()
    core.join(complete=False)
    report = node_pb2.AttemptReport(
        run="r1", number=1, fence=fence(1), phase=pb.ATTEMPT_PHASE_SUCCEEDED,
        ended_at=stamp(core.now + 3),
    )  # fmt: skip
    for late, expected in ((5.0, 3.0), (1.0, 1.0)):
        actions = attempt_reports.reported(core.world, "n1", report, core.now + late)
        (put,) = (each for each in actions if isinstance(each, do.PutRun))
        assert put.run.ended_at == stamp(core.now + expected)


def test_a_lost_node_ends_its_attempts_and_they_run_elsewhere(core):
    core.submit("r1", task())
    core.leave()
    core.join("n2")
    core.advance(LEASE - 1)
    assert len(core.run("r1").attempts) == 1
    core.renew("n2")
    core.advance(2)
    assert [(each.node, each.phase) for each in core.run("r1").attempts] == [
        ("n1", pb.ATTEMPT_PHASE_LOST),
        ("n2", pb.ATTEMPT_PHASE_DISPATCHED),
    ]
    assert core.run("r1").attempts[0].error.message == (
        "node `n1` was not heard of within its lease"
    )


def test_a_silent_session_is_closed(core):
    core.take_sent()
    core.advance(LEASE + 1)
    (closed,) = core.take_sent()
    assert isinstance(closed, do.CloseSession)
    assert core.world.nodes["n1"].lost


@pytest.mark.parametrize("stopping", [False, True])
@given(
    current=st.sampled_from([A.Name(each) for each in A.values()]),
    said=st.sampled_from([A.Name(each) for each in A.values()]),
)
def test_every_pair_of_phases_keeps_the_rules(stopping, current, said):
    """No report revives what has ended, moves a fence back, or changes the world."""
    core = Core()
    core.join()
    core.submit("r1", task(retries=pb.RetryPolicy(count=1)))
    run = pb.Run()
    run.CopyFrom(core.run("r1"))
    run.attempts[0].phase = A.Value(current)
    if stopping:
        run.attempts[0].error.CopyFrom(ERROR)
    core.apply([do.PutRun(run)])
    report = node_pb2.AttemptReport(run="r1", fence=fence(1), phase=A.Value(said))
    before = fingerprint(core.world)
    decided = attempt_reports.reported(core.world, "n1", report, core.now)
    assert fingerprint(core.world) == before
    active = A.Value(current) in attempts.ACTIVE_ATTEMPTS
    puts = [each for each in decided if isinstance(each, do.PutRun)]
    ends = A.Value(said) in (
        attempts.COUNTED_ATTEMPTS
        | {pb.ATTEMPT_PHASE_SUCCEEDED, pb.ATTEMPT_PHASE_LOST, pb.ATTEMPT_PHASE_ABORTED}
    )
    acked = any(isinstance(each, do.SendAck) for each in decided)
    assert acked == (ends or (not active and A.Value(said) == 0))
    if not active:
        assert not puts
    for put in puts:
        assert put.run.etag == run.etag + 1
        assert put.run.attempts[0].fence == fence(1)
        if ends:
            assert put.durable
            assert attempts.current(put.run) is None
        if attempts.has_ended(put.run):
            assert put.run.HasField("ended_at")


@given(
    st.lists(
        st.tuples(st.integers(0, 5), st.sampled_from(sorted(A.values())), st.booleans()),
        max_size=30,
    )
)
def test_any_story_of_reports_ends_each_run_at_most_once(story):
    """Whatever a node says in whatever order, a final phase is recorded once."""
    core = Core()
    core.join(slots=3)
    for each in range(4):
        core.submit(f"r{each}", task(retries=pb.RetryPolicy(count=1)))
    core.submit("r4", task(), parent="r0")
    core.submit("r5", task(), parent="r1")
    for number, phase, first in story:
        name = f"r{number}"
        if core.run(name).attempts:
            core.attempt(name, phase, number=1 if first else 0)
    core.advance(30)
    assert all(len(each) == 1 for each in core.ended.values())
    used = sum(
        attempts.current(run) is not None and name not in core.world.children
        for name, run in core.world.runs.items()
    )
    assert slots_used(core) == used
