"""Attempts and their workers: prepared, released, ended, lost, adopted."""

from __future__ import annotations

import signal

import pytest

from callmesh_agent.core import events
from callmesh_agent.core import instructions as do
from callmesh_agent.core.state import Stage, ZygotePhase
from callmeshpb.v1 import common_pb2, node_pb2, scheduler_pb2, supervisor_pb2

RUNNING = scheduler_pb2.ATTEMPT_PHASE_RUNNING
SUCCEEDED = scheduler_pb2.ATTEMPT_PHASE_SUCCEEDED
FAILED = scheduler_pb2.ATTEMPT_PHASE_FAILED
LOST = scheduler_pb2.ATTEMPT_PHASE_LOST
ABORTED = scheduler_pb2.ATTEMPT_PHASE_ABORTED


def go(order):
    return events.AttemptReleased(node_pb2.AttemptGo(run=order.run, fence=order.fence))


def ack(order):
    return events.AttemptAcknowledged(node_pb2.AttemptAck(run=order.run, fence=order.fence))


def stop(order, reason="aborted", grace=3):
    made = node_pb2.AttemptStop(run=order.run, fence=order.fence, reason=reason)
    made.grace.FromSeconds(grace)
    return events.AttemptStopRequested(made)


def attempt(node, order):
    (found,) = [each for each in node.state.attempts.values() if each.key.run == order.run]
    return found


def running(node, run="r1", **fields):
    """An attempt that a worker executes."""
    order = node.order(run, **fields)
    node.feed(events.AttemptOrdered(order), go(order))
    worker = node.worker()
    node.says(worker, order, RUNNING)
    return order, worker


def warm(node):
    """A worker that waits for work."""
    order, worker = running(node, "warm")
    node.says(worker, order, SUCCEEDED)
    node.feed(ack(order))
    return worker


def last_report(node, tools):
    return tools.of(do.ReportAttempt, node.done)[-1].report


def test_new_code_takes_zygotes_first_and_then_a_worker(node, tools):
    order = node.order("r1")
    made = node.feed(events.AttemptOrdered(order))
    assert do.StartZygote("base", "", "") in made
    made = node.base_ready()
    (zygote,) = tools.of(do.StartZygote, made)
    assert zygote.parent == "base"
    (started,) = tools.of(do.StartWorker, node.zygote_ready(zygote.zygote_id))
    assert started.zygote == zygote.zygote_id
    made = node.connect(started.worker_id)
    assert do.SendPrepare(started.worker_id, order) in made
    assert tools.of(do.SendGo, made) == []


def test_a_warm_worker_gets_the_order_at_once(node, tools):
    worker = warm(node)
    order = node.order("r1")
    assert node.feed(events.AttemptOrdered(order))[0] == do.SendPrepare(worker, order)
    (sent,) = tools.of(do.SendGo, node.feed(go(order)))
    assert (sent.worker_id, sent.go.run) == (worker, "r1")


def test_user_code_starts_only_after_go(node, tools):
    worker = warm(node)
    node.feed(events.AttemptOrdered(node.order("r1")))
    assert [each for each in tools.of(do.SendGo, node.done) if each.go.run == "r1"] == []
    assert attempt(node, node.order("r1")).worker == worker


def test_a_second_go_changes_nothing(node, tools):
    order, _ = running(node)
    assert node.feed(go(order)) == []


def test_an_end_is_kept_until_acknowledged(node, tools):
    order, worker = running(node)
    node.says(worker, order, SUCCEEDED)
    assert last_report(node, tools).phase == SUCCEEDED
    node.feed(events.SessionClosed())
    assert last_report(node, tools).phase == SUCCEEDED
    made = node.feed(events.SessionOpened())
    assert [each.report.phase for each in tools.of(do.ReportAttempt, made)] == [SUCCEEDED]
    (sent,) = tools.of(do.SendAck, node.feed(ack(order)))
    assert sent.worker_id == worker
    assert node.state.attempts == {}


def test_a_worker_takes_the_next_attempt_while_the_last_is_being_committed(node, tools):
    first, worker = running(node)
    second = node.order("r2")
    made = node.feed(events.AttemptOrdered(second))
    assert len(tools.of(do.StartWorker, made)) == 1
    assert do.SendPrepare(worker, second) in node.says(worker, first, SUCCEEDED)


def test_as_many_workers_are_started_as_attempts_wait(node, tools):
    running(node)
    orders = [node.order(f"n{i}") for i in range(3)]
    made = [each for order in orders for each in node.feed(events.AttemptOrdered(order))]
    assert len(tools.of(do.StartWorker, made)) == 3


def test_a_lost_worker_loses_its_attempt(node, tools):
    _, worker = running(node)
    node.exit(node.process(f"worker/{worker}"), -9)
    report = last_report(node, tools)
    assert (report.phase, report.error.type) == (LOST, "WorkerLost")
    assert report.error.kind == common_pb2.FAILURE_KIND_SYSTEM
    assert "signal 9 (SIGKILL)" in report.error.message


def test_a_late_report_of_an_ended_attempt_changes_nothing(node, tools):
    order, worker = running(node)
    node.exit(node.process(f"worker/{worker}"), -9)
    assert node.says(worker, order, SUCCEEDED) == []
    assert attempt(node, order).report.phase == LOST


def test_a_report_of_another_workers_attempt_changes_nothing(node, tools):
    order, _ = running(node)
    other = running(node, "r2")[1]
    assert node.says(other, order, SUCCEEDED) == []


def test_a_stop_is_a_term_with_a_grace(node, tools):
    order, worker = running(node)
    made = node.feed(stop(order, grace=3))
    assert do.SignalProcess(f"worker/{worker}", signal.SIGTERM, kill_after=3.0) in made
    node.exit(node.process(f"worker/{worker}"), 143)
    report = last_report(node, tools)
    assert (report.phase, report.error.message) == (ABORTED, "aborted")


def test_what_user_code_makes_of_a_stop_is_no_failure(node, tools):
    order, worker = running(node)
    node.feed(stop(order))
    node.says(worker, order, FAILED)
    assert last_report(node, tools).phase == ABORTED


def test_a_result_that_came_before_the_stop_counts(node, tools):
    order, worker = running(node)
    node.says(worker, order, SUCCEEDED)
    node.feed(stop(order))
    assert last_report(node, tools).phase == SUCCEEDED


def test_a_stop_of_what_waits_ends_it_at_once(node, tools):
    order = node.order("r1")
    node.feed(events.AttemptOrdered(order), stop(order))
    assert last_report(node, tools).phase == ABORTED
    node.base_ready()
    assert node.state.workers == {}


@pytest.mark.parametrize("event", [go, stop])
def test_what_is_not_known_here_is_said_to_be_over(node, tools, event):
    node.feed(event(node.order("r9")))
    assert last_report(node, tools).phase in (LOST, ABORTED)


def test_an_attempt_that_the_store_does_not_know_is_ended(node, tools):
    order, worker = running(node)
    made = node.feed(ack(order))
    assert do.SignalProcess(f"worker/{worker}", signal.SIGKILL) in made
    assert node.state.attempts == {}


def test_a_failed_import_fails_the_run_with_the_users_error(node, tools):
    node.feed(events.AttemptOrdered(node.order("r1")))
    (zygote,) = tools.of(do.StartZygote, node.base_ready())
    state = supervisor_pb2.ZygoteState(
        process_id=f"zygote/{zygote.zygote_id}",
        outcome=supervisor_pb2.ZYGOTE_OUTCOME_IMPORT_FAILED,
        message="No module named 'pandas'",
        error_type="ModuleNotFoundError",
        traceback="File work.py",
    )
    node.feed(events.ZygoteReported(state))
    error = last_report(node, tools).error
    assert (error.type, error.traceback) == ("ModuleNotFoundError", "File work.py")
    assert error.kind == common_pb2.FAILURE_KIND_USER
    node.exit(node.process(f"zygote/{zygote.zygote_id}"), 0)
    made = node.feed(events.AttemptOrdered(node.order("r2")))
    assert tools.of(do.StartZygote, made)


def test_a_module_that_cannot_be_forked_is_spawned(node, tools):
    node.feed(events.AttemptOrdered(node.order("r1")))
    (zygote,) = tools.of(do.StartZygote, node.base_ready())
    state = supervisor_pb2.ZygoteState(
        process_id=f"zygote/{zygote.zygote_id}",
        outcome=supervisor_pb2.ZYGOTE_OUTCOME_NOT_FORKABLE,
        message="a socket is open",
    )
    made = node.feed(events.ZygoteReported(state))
    assert [each.zygote for each in tools.of(do.StartWorker, made)] == [""]
    assert tools.of(do.SignalProcess, made)


def test_a_worker_that_never_gets_to_work_is_tried_three_times(node, tools):
    node.feed(events.AttemptOrdered(node.order("r1")))
    node.base_ready()
    (zygote,) = [z.id for z in node.state.zygotes.values() if z.pool]
    node.zygote_ready(zygote)
    for _ in range(3):
        (worker,) = node.state.workers
        node.exit(node.process(f"worker/{worker}"), 1, "ImportError: no")
    report = last_report(node, tools)
    assert report.phase == LOST
    assert "ImportError: no" in report.error.message
    assert node.state.workers == {}


def test_a_fresh_attempt_gets_a_process_of_its_own(node, tools):
    warm(node)
    order = node.order("r1", task={"spec": {"fresh": True}})
    (started,) = tools.of(do.StartWorker, node.feed(events.AttemptOrdered(order), go(order)))
    other = node.order("r2", task={"spec": {"fresh": True}})
    assert len(tools.of(do.StartWorker, node.feed(events.AttemptOrdered(other)))) == 1
    assert do.SendPrepare(started.worker_id, order) in node.connect(started.worker_id)
    node.says(started.worker_id, order, RUNNING)
    made = node.says(started.worker_id, order, SUCCEEDED)
    assert do.SignalProcess(f"worker/{started.worker_id}", signal.SIGTERM, 10.0) in made


@pytest.mark.parametrize(
    "fields",
    [
        {"env_vars": {"A": "1"}},
        {"secret_env": {"A": "1"}},
        {"secret_files": {"/s": b"1"}},
        {"domain": "production"},
        {"task": {"environment": {"version": "2"}}},
        {"task": {"environment": {"env_vars": {"A": "1"}}}},
    ],
)
def test_workers_are_shared_only_within_equal_recipes(node, tools, fields):
    warm(node)
    made = node.feed(events.AttemptOrdered(node.order("r1", **fields)))
    assert tools.of(do.SendPrepare, made) == []
    assert tools.of(do.StartZygote, made)


def test_a_worker_is_recycled_after_its_thousandth_run(node, tools):
    worker = warm(node)
    for number in range(1, 1000):
        order = node.order(f"r{number}")
        node.feed(events.AttemptOrdered(order), go(order))
        assert attempt(node, order).worker == worker
        node.says(worker, order, RUNNING)
        made = node.says(worker, order, SUCCEEDED)
        node.feed(ack(order))
    assert tools.of(do.SignalProcess, made)
    assert tools.of(do.StartWorker, node.feed(events.AttemptOrdered(node.order("next"))))


def test_a_worker_that_has_grown_is_recycled_when_idle(node, tools):
    order, worker = running(node)
    node.feed(events.WorkersMeasured({worker: (100 << 20, 0)}))
    made = node.feed(events.WorkersMeasured({worker: (400 << 20, 0)}))
    assert tools.of(do.SignalProcess, made) == []
    assert tools.of(do.SignalProcess, node.says(worker, order, SUCCEEDED))


def test_idle_workers_end_and_leave_nothing_behind(node, tools):
    worker = warm(node)
    assert tools.of(do.SignalProcess, node.advance(600))
    node.exit(node.process(f"worker/{worker}"), 143)
    assert tools.of(do.SignalProcess, node.advance(301))
    zygote = next(z.id for z in node.state.zygotes.values() if z.pool)
    assert tools.of(do.RemovePoolFiles, node.exit(node.process(f"zygote/{zygote}"), 0))
    assert node.state.pools == {}


def test_no_more_idle_workers_are_kept_than_the_limit(node, tools):
    orders = [node.order(f"r{i}") for i in range(10)]
    for order in orders:
        node.feed(events.AttemptOrdered(order), go(order))
    node.base_ready()
    node.zygote_ready(next(z.id for z in node.state.zygotes.values() if z.pool))
    for worker in list(node.state.workers):
        node.connect(worker)
    for order in orders:
        node.says(attempt(node, order).worker, order, RUNNING)
    made = [x for o in orders for x in node.says(attempt(node, o).worker, o, SUCCEEDED)]
    assert len(tools.of(do.SignalProcess, made)) == 2


def test_a_line_that_breaks_may_come_back(node, tools):
    order, worker = running(node)
    node.feed(events.WorkerDisconnected(worker))
    node.advance(4)
    report = tools.report_of(order, RUNNING, worker)
    node.feed(events.WorkerConnected(worker, report))
    assert tools.of(do.SignalProcess, node.advance(60)) == []
    node.says(worker, order, SUCCEEDED)
    assert last_report(node, tools).phase == SUCCEEDED


def test_a_line_that_does_not_come_back_ends_the_worker(node, tools):
    _, worker = running(node)
    node.feed(events.WorkerDisconnected(worker))
    assert do.SignalProcess(f"worker/{worker}", signal.SIGKILL) in node.advance(5)


def test_what_went_down_with_the_line_is_told_again(node, tools):
    worker = warm(node)
    order = node.order("r1")
    node.feed(events.AttemptOrdered(order), go(order), events.WorkerDisconnected(worker))
    made = node.feed(events.WorkerConnected(worker, None))
    assert do.SendPrepare(worker, order) in made
    assert len(tools.of(do.SendGo, made)) == 1


def test_an_order_that_is_known_is_only_reported_again(node, tools):
    order, _ = running(node)
    made = node.feed(events.AttemptOrdered(order))
    assert [type(each) for each in made] == [do.ReportAttempt]


class TestAfterARestart:
    """A new agent, and workers that lived through it."""

    def test_attempts_are_complete_once_every_worker_has_spoken(self, fresh_node, tools):
        process = fresh_node.process("worker/w1", labels={"pool": "p", "base": "b"})
        fresh_node.supervised(process)
        made = fresh_node.feed(events.SessionOpened())
        assert do.ReportInstancesComplete() in made
        assert do.ReportAttemptsComplete() not in made
        report = node_pb2.AttemptReport(run="r1", phase=RUNNING, worker="w1")
        made = fresh_node.feed(events.WorkerConnected("w1", report))
        assert do.ReportAttempt(report) in made
        assert do.ReportAttemptsComplete() not in made
        assert do.ReportAttemptsComplete() in fresh_node.advance(0.2)

    def test_everything_that_a_worker_holds_is_reported_before_complete_is_said(
        self, fresh_node, tools
    ):
        fresh_node.supervised(fresh_node.process("worker/w1", labels={"base": "b"}))
        fresh_node.feed(events.SessionOpened())
        ended, goes_on = fresh_node.order("r1"), fresh_node.order("r2")
        report = tools.report_of(ended, SUCCEEDED, "w1")
        made = fresh_node.feed(events.WorkerConnected("w1", report))
        made += fresh_node.says("w1", goes_on, RUNNING)
        assert do.ReportAttemptsComplete() not in made
        assert {each.report.run for each in tools.of(do.ReportAttempt, made)} == {"r1", "r2"}
        assert not fresh_node.state.workers["w1"].idle

    def test_a_worker_that_does_not_come_back_is_ended_after_five_seconds(self, fresh_node, tools):
        fresh_node.supervised(fresh_node.process("worker/w1"))
        fresh_node.feed(events.SessionOpened())
        assert fresh_node.advance(4.9) == []
        made = fresh_node.advance(0.2)
        assert do.SignalProcess("worker/w1", signal.SIGKILL) in made
        assert do.ReportAttemptsComplete() in made

    def test_an_adopted_attempt_goes_on_to_its_end(self, fresh_node, tools):
        process = fresh_node.process("worker/w1", labels={"pool": "p", "base": "b"})
        fresh_node.supervised(process)
        fresh_node.feed(events.SessionOpened())
        order = fresh_node.order("r1")
        fresh_node.feed(events.WorkerConnected("w1", tools.report_of(order, RUNNING, "w1")))
        fresh_node.says("w1", order, SUCCEEDED)
        assert last_report(fresh_node, tools).phase == SUCCEEDED
        (sent,) = tools.of(do.SendAck, fresh_node.feed(ack(order)))
        assert sent.worker_id == "w1"

    def test_an_idle_adopted_worker_is_used_again(self, fresh_node, tools):
        order = fresh_node.order("r1")
        fresh_node.supervised()
        fresh_node.feed(events.AttemptOrdered(order))
        pool = attempt(fresh_node, order).pool
        other = type(fresh_node)()
        other.supervised(other.process("worker/w1", labels={"pool": pool, "base": "b"}))
        other.feed(events.WorkerConnected("w1", None))
        other.advance(0.2)
        assert do.SendPrepare("w1", order) in other.feed(events.AttemptOrdered(order))

    def test_a_worker_of_an_older_installation_is_not(self, fresh_node, tools):
        fresh_node.supervised(fresh_node.process("worker/w1", labels={"base": "old"}))
        made = fresh_node.feed(events.WorkerConnected("w1", None))
        assert do.SignalProcess("worker/w1", signal.SIGTERM, 10.0) in made

    def test_results_from_the_spool_are_reported_and_removed(self, fresh_node, tools):
        order = fresh_node.order("r1")
        report = tools.report_of(order, SUCCEEDED, "w0")
        fresh_node.feed(events.SpoolRead((report,)))
        fresh_node.supervised()
        assert do.ReportAttempt(report) in fresh_node.feed(events.SessionOpened())
        assert do.ForgetSpooled("r1", 1, order.fence.counter) in fresh_node.feed(ack(order))

    def test_zygotes_of_an_older_installation_are_replaced(self, fresh_node, tools):
        process = fresh_node.process("zygote/base", labels={"base": "old"})
        made = fresh_node.supervised(process)
        assert do.SignalProcess("zygote/base", signal.SIGTERM, 2.0) in made
        fresh_node.feed(events.Warmed())
        assert do.StartZygote("base", "", "") in fresh_node.exit(process, 0)


def test_a_supervisor_that_died_costs_zygotes_and_no_workers(node, tools):
    order, worker = running(node)
    node.feed(events.Warmed(), events.SupervisorLost())
    made = node.supervised(node.process(f"worker/{worker}"))
    assert do.StartZygote("base", "", "") in made
    assert attempt(node, order).stage is Stage.RUNNING
    node.says(worker, order, SUCCEEDED)
    assert last_report(node, tools).phase == SUCCEEDED


def test_an_order_that_went_down_with_a_line_that_held_a_result_ends_as_lost(node, tools):
    first, worker = running(node)
    node.says(worker, first, SUCCEEDED)
    second = node.order("r2")
    node.feed(events.AttemptOrdered(second), go(second), events.WorkerDisconnected(worker))
    node.feed(events.WorkerConnected(worker, tools.report_of(first, SUCCEEDED, worker)))
    assert do.SignalProcess(f"worker/{worker}", signal.SIGKILL) in node.advance(5)
    node.exit(node.process(f"worker/{worker}"), -9)
    assert attempt(node, second).report.phase == LOST


def test_one_that_had_begun_goes_on(node, tools):
    first, worker = running(node)
    node.says(worker, first, SUCCEEDED)
    second = node.order("r2")
    node.feed(events.AttemptOrdered(second), go(second), events.WorkerDisconnected(worker))
    node.feed(events.WorkerConnected(worker, tools.report_of(first, SUCCEEDED, worker)))
    node.says(worker, second, RUNNING)
    assert tools.of(do.SignalProcess, node.advance(60)) == []


def test_the_zygote_that_was_not_used_for_longest_makes_room(node, tools):
    for number in range(9):
        node.now += 1
        order = node.order(f"r{number}", task={"environment": {"version": str(number)}})
        node.feed(events.AttemptOrdered(order))
        if number == 0:
            node.base_ready()
        for zygote in [z for z in node.state.zygotes.values() if z.pool]:
            node.zygote_ready(zygote.id)
    oldest = next(z for z in node.state.zygotes.values() if z.pool)
    assert oldest.phase is ZygotePhase.ENDING
