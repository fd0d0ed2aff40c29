"""Draining: apps move before they leave, attempts have time, the deadline ends the rest."""

from __future__ import annotations

import pytest
from core_world import DRAIN, MIB, RUN, Core, app_spec, endpoints, hello, intents, seconds, task

from callmesh_server.core import actions as do
from callmesh_server.core import draining, liveness
from callmesh_server.core.leftovers import leftovers
from callmeshpb.v1 import registry_pb2
from callmeshpb.v1 import scheduler_pb2 as pb

READY = registry_pb2.ENDPOINT_HEALTH_READY
DRAINING = registry_pb2.ENDPOINT_HEALTH_DRAINING


@pytest.fixture
def core() -> Core:
    """Two nodes that have reported everything; what is deployed starts on `n1`."""
    core = Core()
    core.join("n1")
    return core


def drain(core: Core, node: str = "n1", deadline: float | None = None) -> None:
    core.perform(draining.begun(core.world, node, deadline, core.now))


def serve(core: Core, name: str = "web", **fields: object) -> pb.Instance:
    """An app that serves with one instance on `n1`; then `n2` joins."""
    core.deploy(app_spec(name, **fields))
    core.ready(name)
    core.join("n2")
    return core.only(name)


def pass_time(core: Core, amount: float) -> None:
    """Let time pass with both nodes' leases renewed."""
    for node in core.world.nodes:
        core.ledger.renew(node, core.now + amount + 10)
    core.advance(amount)


def left(core: Core, node: str = "n1") -> list[tuple[str, str]]:
    return [(each.app or each.run, each.message) for each in leftovers(core.world, node)]


class TestApps:
    def test_an_instance_leaves_once_another_takes_calls(self, core):
        old = serve(core)
        drain(core)
        (kept, new) = core.instances("web")
        assert (kept.id, kept.intent) == (old.id, RUN)
        assert (new.node, new.intent) == ("n2", RUN)
        assert endpoints(core) == [(old.id, READY)]
        core.report(new.id, pb.INSTANCE_STATE_STARTING)
        assert core.instances("web")[0].intent == RUN
        core.report(new.id, pb.INSTANCE_STATE_READY)
        assert intents(core) == {old.id: DRAIN, new.id: RUN}
        assert endpoints(core) == [(old.id, DRAINING), (new.id, READY)]
        core.gone(old.id)
        assert left(core) == []
        assert core.only("web").node == "n2"
        assert core.said("web")[0] == "Serving"

    def test_every_replica_is_replaced_by_itself(self, core):
        core.deploy(app_spec(min_replicas=2))
        core.ready("web")
        core.join("n2")
        drain(core)
        old = [each.id for each in core.instances("web")[:2]]
        new = [each.id for each in core.instances("web")[2:]]
        assert len(new) == 2
        core.report(new[1], pb.INSTANCE_STATE_READY)
        assert list(intents(core).values()).count(RUN) == 3
        assert sum(health == READY for _, health in endpoints(core)) == 2
        core.report(new[0], pb.INSTANCE_STATE_READY)
        assert intents(core) == dict.fromkeys(old, DRAIN) | dict.fromkeys(new, RUN)

    def test_what_does_not_serve_is_not_waited_for(self, core):
        old = serve(core)
        core.report(old.id, pb.INSTANCE_STATE_BACKOFF, last_exit="exit code 1")
        drain(core)
        stays = [each for each in core.instances("web") if each.intent == RUN]
        assert [each.node for each in stays] == ["n2"]

    def test_what_fits_nowhere_else_stays_until_the_deadline_and_says_why(self, core):
        old = serve(core, resources={"memory": 800 * MIB})
        core.deploy(app_spec("other", resources={"memory": 500 * MIB}))
        assert core.only("other").node == "n2"
        core.ready("other")
        drain(core, deadline=60)
        assert intents(core) == {old.id: RUN}
        reason, message = core.said("web", "Progressing")
        assert reason == "CannotMove"
        assert "has to leave node `n1`, which is drained, and fits no other" in message
        assert "node `n2` has 500 MiB of 1000 MiB memory unreserved" in message
        assert core.said("web")[0] == "Serving"
        assert core.app("web").state == pb.APP_STATE_READY
        assert left(core) == [("web", message)]
        pass_time(core, 59)
        assert intents(core) == {old.id: RUN}
        pass_time(core, 2)
        assert intents(core) == {old.id: DRAIN}
        ended = core.world.nodes["n1"].record.drain.ended
        assert [(each.app, each.instances, each.message) for each in ended] == [("web", 1, message)]
        core.gone(old.id)
        assert core.said("web")[0] == "Unschedulable"

    def test_room_that_becomes_free_lets_it_move(self, core):
        old = serve(core, resources={"memory": 800 * MIB})
        core.deploy(app_spec("other", resources={"memory": 500 * MIB}))
        core.ready("other")
        drain(core)
        core.delete("other")
        core.all_gone("other")
        assert [each.node for each in core.instances("web")] == ["n1", "n2"]
        core.ready("web")
        assert intents(core)[old.id] == DRAIN

    def test_an_app_that_binds_its_port_itself_moves_too(self, core):
        old = serve(core, port=8080, command=["serve", "--port", "8080"])
        drain(core)
        new = core.instances("web")[1]
        assert new.node == "n2"
        assert intents(core)[old.id] == RUN
        core.report(new.id, pb.INSTANCE_STATE_READY)
        assert intents(core)[old.id] == DRAIN

    def test_a_rollout_under_way_ends_elsewhere(self, core):
        old = serve(core)
        core.deploy(app_spec(env_vars={"V": "2"}))
        first = core.instances("web")[1]
        assert first.node == "n2"
        drain(core)
        # The serving revision moves, and the newest is where it may stay.
        moved = core.instances("web")[2]
        assert (moved.revision, moved.node) == (1, "n2")
        core.report(moved.id, pb.INSTANCE_STATE_READY)
        assert intents(core)[old.id] == DRAIN
        core.report(first.id, pb.INSTANCE_STATE_READY)
        assert core.app("web").serving_revision == 2
        core.all_gone("web")
        assert core.only("web").id == first.id

    def test_a_revision_that_starts_on_the_drained_node_starts_elsewhere(self, core):
        core.deploy(app_spec())
        old = core.only("web")
        core.join("n2")
        drain(core)
        stays = [each for each in core.instances("web") if each.intent == RUN]
        assert [each.node for each in stays] == ["n2"]
        assert intents(core)[old.id] != RUN
        core.ready("web")
        assert core.app("web").serving_revision == 1

    def test_a_replacement_that_cannot_start_leaves_the_old_one_serving(self, core):
        old = serve(core)
        drain(core)
        new = core.instances("web")[1]
        core.report(new.id, pb.INSTANCE_STATE_BACKOFF, consecutive_failures=4, message="no disk")
        assert intents(core)[old.id] == RUN
        assert core.app("web").state == pb.APP_STATE_READY
        assert "no disk" in left(core)[0][1]

    def test_undrain_takes_the_replacement_back(self, core):
        old = serve(core)
        drain(core)
        core.perform(draining.undone(core.world, "n1"))
        assert intents(core)[old.id] == RUN
        assert [each.id for each in core.instances("web") if each.intent == RUN] == [old.id]
        assert not core.world.nodes["n1"].draining
        core.all_gone("web")
        core.deploy(app_spec("other"))
        core.deploy(app_spec("third"))
        assert {core.only("other").node, core.only("third").node} == {"n1", "n2"}

    def test_both_nodes_drained_keep_what_they_have(self, core):
        old = serve(core)
        drain(core)
        drain(core, "n2")
        assert intents(core)[old.id] == RUN
        assert endpoints(core) == [(old.id, READY)]


class TestRuns:
    def test_nothing_new_is_dispatched_and_what_runs_goes_on(self, core):
        core.submit("r1", task())
        core.attempt("r1", pb.ATTEMPT_PHASE_RUNNING)
        drain(core, deadline=60)
        core.submit("r2", task())
        assert "takes no new work: it is draining" in core.run("r2").message
        core.join("n2")
        assert core.run("r2").attempts[-1].node == "n2"
        core.take_sent()
        pass_time(core, 59)
        assert core.take_sent() == []
        core.attempt("r1", pb.ATTEMPT_PHASE_SUCCEEDED)
        assert core.run("r1").phase == pb.RUN_PHASE_SUCCEEDED
        assert left(core) == []

    def test_at_the_deadline_an_attempt_is_stopped_and_handed_on(self, core):
        core.submit("r1", task())
        core.attempt("r1", pb.ATTEMPT_PHASE_RUNNING)
        core.join("n2")
        drain(core, deadline=60)
        core.take_sent()
        pass_time(core, 61)
        (stop,) = core.take_sent()
        assert isinstance(stop, do.SendStop)
        assert (stop.node, stop.run, stop.grace) == ("n1", "r1", 10.0)
        assert "node `n1` is drained, and its deadline has come" in stop.reason
        assert "being stopped" in left(core)[0][1]
        (ended,) = core.world.nodes["n1"].record.drain.ended
        assert (ended.run, ended.message) == ("r1", "attempt 1 of task `env.work` runs")
        core.attempt("r1", pb.ATTEMPT_PHASE_ABORTED)
        run = core.run("r1")
        assert [each.phase for each in run.attempts] == [
            pb.ATTEMPT_PHASE_LOST,
            pb.ATTEMPT_PHASE_DISPATCHED,
        ]
        assert run.attempts[0].error.type == "HandedOn"
        assert run.attempts[1].node == "n2"
        assert left(core) == []

    def test_being_handed_on_uses_up_no_retry_and_no_loss(self, core):
        core.submit("r1", task(retries={"count": 0}))
        for number in range(8):
            here, other = ("n1", "n2") if number % 2 == 0 else ("n2", "n1")
            if other not in core.world.nodes:
                core.join(other)
            core.attempt("r1", pb.ATTEMPT_PHASE_RUNNING)
            assert core.run("r1").attempts[-1].node == here
            core.perform(draining.undone(core.world, other))
            drain(core, here, deadline=0)
            core.attempt("r1", pb.ATTEMPT_PHASE_FAILED, error={"type": "KeyboardInterrupt"})
        core.attempt("r1", pb.ATTEMPT_PHASE_SUCCEEDED)
        assert core.run("r1").phase == pb.RUN_PHASE_SUCCEEDED

    def test_an_attempt_that_ends_well_while_it_is_stopped_has_ended_well(self, core):
        core.submit("r1", task())
        core.attempt("r1", pb.ATTEMPT_PHASE_RUNNING)
        drain(core, deadline=0)
        core.attempt("r1", pb.ATTEMPT_PHASE_SUCCEEDED)
        assert core.run("r1").phase == pb.RUN_PHASE_SUCCEEDED

    def test_an_attempt_that_does_not_end_is_given_up(self, core):
        core.submit("r1", task())
        core.attempt("r1", pb.ATTEMPT_PHASE_RUNNING)
        core.join("n2")
        drain(core, deadline=0)
        pass_time(core, 29)
        assert core.run("r1").attempts[-1].node == "n1"
        pass_time(core, 2)
        assert core.run("r1").attempts[-1].node == "n2"

    def test_an_attempt_that_has_not_started_is_not_let_go_after_the_deadline(self, core):
        core.submit("r1", task())
        drain(core, deadline=0)
        core.leave("n1")
        core.join("n1", complete=False)
        core.take_sent()
        core.attempt("r1", pb.ATTEMPT_PHASE_DISPATCHED)
        assert [type(each) for each in core.take_sent()] == [do.SendStop]

    def test_a_parent_that_waits_is_handed_on_and_its_children_go_on(self, core):
        core.submit("r1", task())
        core.attempt("r1", pb.ATTEMPT_PHASE_RUNNING)
        core.join("n2")
        drain(core, deadline=60)
        core.submit("c1", task("env.child"), parent="r1")
        core.attempt("c1", pb.ATTEMPT_PHASE_RUNNING)
        assert core.run("c1").attempts[-1].node == "n2"
        assert left(core) == [("r1", "attempt 1 of task `env.work` waits for 1 child run")]
        pass_time(core, 61)
        core.attempt("r1", pb.ATTEMPT_PHASE_ABORTED)
        assert core.run("r1").attempts[-1].node == "n2"
        assert core.run("c1").phase == pb.RUN_PHASE_RUNNING

    def test_a_run_may_still_be_aborted_and_run_out_of_time(self, core):
        core.submit("r1", task(timeouts={"max_runtime": seconds(5)}))
        core.attempt("r1", pb.ATTEMPT_PHASE_RUNNING)
        drain(core, deadline=60)
        pass_time(core, 6)
        core.attempt("r1", pb.ATTEMPT_PHASE_ABORTED)
        assert core.run("r1").phase == pb.RUN_PHASE_TIMED_OUT


class TestTheRecord:
    def test_a_drain_outlives_the_server(self, core):
        serve(core)
        drain(core, deadline=60)
        record = core.world.nodes["n1"].record
        again = Core(core.now + 30, epoch=2)
        stored = pb.Node()
        stored.CopyFrom(record)
        again.apply([do.PutNode(liveness.remembered(stored, again.now, 10))])
        assert again.world.nodes["n1"].draining
        again.join("n1")
        assert again.world.nodes["n1"].record.drain == record.drain
        again.deploy(app_spec("other"))
        assert again.instances("other") == []

    def test_the_deadline_waits_for_a_node_that_is_away(self, core):
        core.submit("r1", task())
        core.attempt("r1", pb.ATTEMPT_PHASE_RUNNING)
        drain(core, deadline=5)
        core.leave("n1")
        core.advance(6)
        assert not core.world.nodes["n1"].record.drain.expired
        core.perform(liveness.joined(core.world, hello("n1"), core.now, 10))
        core.attempt("r1", pb.ATTEMPT_PHASE_SUCCEEDED)
        assert core.run("r1").phase == pb.RUN_PHASE_SUCCEEDED
        core.perform(liveness.instances_complete(core.world, "n1", core.now))
        core.perform(liveness.attempts_complete(core.world, "n1", core.now))
        drained = core.world.nodes["n1"].record.drain
        assert drained.expired
        assert list(drained.ended) == []

    def test_a_node_that_is_lost_while_it_drains_is_replaced_as_any(self, core):
        old = serve(core)
        drain(core)
        core.leave("n1")
        core.ledger.renew("n2", core.now + 100)
        core.advance(11)
        assert core.world.nodes["n1"].lost
        new = core.instances("web")[1]
        core.report(new.id, pb.INSTANCE_STATE_READY)
        assert [each.id for each in core.instances("web")] == [new.id]
        assert old.id != new.id

    def test_draining_again_changes_the_deadline_only_where_one_is_given(self, core):
        drain(core, deadline=60)
        started = core.world.nodes["n1"].record.drain.started_at
        pass_time(core, 30)
        assert draining.begun(core.world, "n1", None, core.now) == []
        drain(core, deadline=60)
        drained = core.world.nodes["n1"].record.drain
        assert drained.started_at == started
        assert drained.deadline_at.seconds == int(core.now) + 60
        pass_time(core, 61)
        assert core.world.nodes["n1"].record.drain.expired
        drain(core, deadline=5)
        assert not core.world.nodes["n1"].record.drain.expired

    def test_a_drain_is_stored_before_it_is_answered(self, core):
        (put, _) = draining.begun(core.world, "n1", None, core.now)
        assert put.durable
        assert put.node.record.drain.deadline_at.seconds == int(core.now) + 600
        core.apply([put])
        assert draining.undone(core.world, "n1")[0].durable


class TestDeletion:
    def test_a_node_that_is_gone_is_forgotten_and_its_work_starts_elsewhere(self, core):
        old = serve(core)
        core.submit("r1", task())
        core.attempt("r1", pb.ATTEMPT_PHASE_RUNNING)
        holder = core.run("r1").attempts[-1].node
        assert holder in {"n1", "n2"}
        core.leave("n1")
        core.leave("n2")
        core.join("n3")
        for node in ("n1", "n2"):
            core.perform(liveness.removed(core.world, node, core.now))
        assert list(core.world.nodes) == ["n3"]
        assert core.only("web").id != old.id
        assert core.only("web").node == "n3"
        run = core.run("r1")
        assert run.attempts[-1].node == "n3"
        assert f"node `{holder}` was deleted" in run.attempts[0].error.message

    def test_a_deleted_node_that_comes_back_is_new(self, core):
        serve(core)
        core.leave("n1")
        core.perform(liveness.removed(core.world, "n1", core.now))
        core.join("n1")
        state = core.world.nodes["n1"]
        assert state.session == 1
        assert not state.record.HasField("drain")
