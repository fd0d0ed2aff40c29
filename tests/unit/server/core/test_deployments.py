"""Apps: gates, rollouts, failures, scaling, and what is said of them."""

from __future__ import annotations

import pytest
from core_world import (
    DRAIN,
    LEASE,
    MIB,
    RUN,
    STOP,
    Core,
    CountingIds,
    app_spec,
    endpoints,
    hello,
    intents,
    seconds,
)

from callmesh_server.core import actions as do
from callmesh_server.core import deployments, instances, liveness, revisions, view
from callmesh_server.core.ledger import Ledger
from callmesh_server.core.times import stamp
from callmesh_wire.errors import ConflictError
from callmesh_wire.names import AppName
from callmeshpb.v1 import node_pb2
from callmeshpb.v1 import scheduler_pb2 as pb

WEB = AppName("default", "development", "web")


def test_a_first_deploy_places_one_instance_and_says_so():
    ledger = Ledger()
    core = Core()
    core.join()
    app = revisions.deployed(None, app_spec(), 20_000, 1000.0)
    for action in [
        *liveness.joined(ledger.world, hello(), 1000.0, LEASE),
        do.PutApp(app),
    ]:
        if not isinstance(action, do.WakeAt):
            ledger.apply(action)
    decided = deployments.reconcile(ledger.world, WEB, 1001.0, CountingIds())
    instance = pb.Instance(
        id="web-1-00001",
        project="default",
        domain="development",
        app="web",
        revision=1,
        node="n1",
        intent=RUN,
        created_at=stamp(1001.0),
        status=pb.InstanceStatus(state=pb.INSTANCE_STATE_PENDING, changed_at=stamp(1001.0)),
    )
    instance.fence.epoch, instance.fence.counter = 1, 1
    put, placed = decided
    assert placed == do.PutInstance(instance)
    assert put.app.state == pb.APP_STATE_DEPLOYING
    assert not put.durable


def test_an_app_becomes_ready_and_callable(core):
    core.deploy(app_spec())
    core.report(core.only("web").id, pb.INSTANCE_STATE_STARTING)
    assert core.app("web").state == pb.APP_STATE_DEPLOYING
    assert endpoints(core) == []
    core.ready("web")
    app = core.app("web")
    assert (app.state, app.serving_revision, app.serving_spec) == (pb.APP_STATE_READY, 1, app.spec)
    assert core.said("web") == ("Serving", "1 of 1 ready")
    assert core.said("web", "Progressing") == ("Complete", "revision 1 serves")
    assert endpoints(core) == [("web-1-00001", 1)]
    assert app.history[0].was_ready


def test_zero_replicas_count_as_one(core):
    core.deploy(app_spec(min_replicas=0))
    assert len(core.instances("web")) == 1


def test_without_a_node_the_app_says_what_to_do():
    core = Core()
    core.deploy(app_spec())
    assert core.app("web").state == pb.APP_STATE_PENDING
    reason, message = core.said("web")
    assert reason == "Unschedulable"
    assert message == ("revision 1 fits no node: no node has joined: start one with `callmesh up`")
    core.join()
    assert len(core.instances("web")) == 1


def test_what_fits_no_node_names_every_node_and_starts_when_there_is_room(core):
    core.join("n2", memory=100 * MIB)
    big = {"resources": {"memory": 800 * MIB}}
    core.deploy(app_spec("one", **big))
    core.deploy(app_spec("two", **big))
    reason, message = core.said("two")
    assert reason == "Unschedulable"
    assert "node `n1` has 200 MiB of 1000 MiB memory unreserved, and 800 MiB" in message
    assert "node `n2` has 100 MiB memory, and 800 MiB" in message
    core.delete("one")
    core.all_gone("one")
    assert core.only("two").node == "n1"


def test_dependencies_are_waited_for_transitively(core):
    core.deploy(app_spec("a", depends_on=["b"]))
    assert core.said("a") == (
        "DependencyMissing",
        "revision 1 waits for app `b`, which does not exist: deploy it",
    )
    core.deploy(app_spec("b", depends_on=["c"]))
    core.deploy(app_spec("c"))
    assert core.instances("a") == core.instances("b") == []
    assert core.said("a") == (
        "WaitingForDependencies",
        "revision 1 waits for app `b`, which waits for app `c`, which is starting",
    )
    core.ready("c")
    assert core.instances("a") == []
    core.ready("b")
    core.ready("a")
    assert core.app("a").state == pb.APP_STATE_READY


def test_a_dependency_that_was_ready_once_suffices(core):
    core.deploy(app_spec("b"))
    core.ready("b")
    core.report(core.only("b").id, pb.INSTANCE_STATE_BACKOFF, last_exit="exit code 1")
    core.deploy(app_spec("a", depends_on=["b"]))
    assert len(core.instances("a")) == 1


def test_a_gate_that_opened_does_not_close_again(core):
    core.deploy(app_spec("b"))
    core.ready("b")
    core.deploy(app_spec("a", depends_on=["b"]))
    core.delete("b")
    core.all_gone("b")
    core.gone(core.only("a").id)
    assert core.only("a").intent == RUN
    assert core.said("a", "DependenciesReady")[0] == "DependenciesReady"


def test_a_dependency_that_failed_is_named(core):
    core.deploy(app_spec("b"))
    core.deploy(app_spec("a", depends_on=["b"]))
    core.report(core.only("b").id, pb.INSTANCE_STATE_BACKOFF, consecutive_failures=3)
    assert core.said("a")[1] == "revision 1 waits for app `b`, which failed to start"


def test_a_cycle_is_named_and_does_not_hang(core):
    core.deploy(app_spec("a", depends_on=["b"]))
    core.deploy(app_spec("b", depends_on=["a"]))
    assert "break the cycle" in core.said("a")[1]


def test_a_new_revision_takes_over_only_when_it_is_ready(core):
    core.deploy(app_spec(min_replicas=2))
    core.ready("web")
    core.deploy(app_spec(min_replicas=2, args=["new"]))
    old, new = core.instances("web")[:2], core.instances("web")[2:]
    assert [each.revision for each in new] == [2, 2]
    core.report(new[0].id, pb.INSTANCE_STATE_READY)
    assert core.app("web").serving_revision == 1
    assert endpoints(core) == [(each.id, 1) for each in old]
    assert core.app("web").state == pb.APP_STATE_DEPLOYING
    core.report(new[1].id, pb.INSTANCE_STATE_READY)
    assert core.app("web").serving_revision == 2
    assert endpoints(core) == sorted(
        [(each.id, 2) for each in old] + [(each.id, 1) for each in new]
    )
    assert {each.intent for each in core.instances("web") if each.revision == 1} == {DRAIN}
    core.all_gone("web")
    assert intents(core) == {each.id: RUN for each in new}


def test_a_broken_revision_never_replaces_a_working_one(core):
    core.deploy(app_spec())
    core.ready("web")
    core.deploy(app_spec(args=["broken"]))
    old, new = core.instances("web")
    core.report(
        new.id,
        pb.INSTANCE_STATE_BACKOFF,
        consecutive_failures=3,
        last_exit="exit code 1",
        log_tail=["Traceback", "ImportError: x"],
    )
    app = core.app("web")
    assert (app.state, app.serving_revision) == (pb.APP_STATE_FAILED, 1)
    assert intents(core) == {old.id: RUN, new.id: STOP}
    assert core.said("web", "Progressing") == (
        "StartFailed",
        "revision 2 failed to start 3 times in a row: exit code 1\nTraceback\nImportError: x",
    )
    assert core.said("web") == (
        "Serving",
        "1 of 1 ready of revision 1; revision 2 failed to start 3 times in a row: exit code 1",
    )
    core.gone(new.id)
    core.advance(3600)
    assert intents(core) == {old.id: RUN}
    assert "ImportError" in core.said("web", "Progressing")[1]


def test_activating_again_retries_a_failed_revision(core):
    core.deploy(app_spec())
    core.ready("web")
    core.deploy(app_spec(args=["broken"]))
    core.report(core.instances("web")[1].id, pb.INSTANCE_STATE_BACKOFF, consecutive_failures=3)
    core.all_gone("web")
    core.update("web", desired_state=pb.DESIRED_STATE_ACTIVE)
    assert [each.revision for each in core.instances("web")] == [1, 2]


def test_a_later_deploy_supersedes_a_rollout(core):
    core.deploy(app_spec())
    core.ready("web")
    core.deploy(app_spec(args=["two"]))
    core.deploy(app_spec(args=["three"]))
    assert [(each.revision, each.intent) for each in core.instances("web")] == [
        (1, RUN),
        (2, STOP),
        (3, RUN),
    ]


@pytest.mark.parametrize("said", ["", "not ready within 5 s: "])
def test_a_revision_that_is_not_ready_in_time_has_failed(core, said):
    core.join("n1")
    core.deploy(app_spec())
    core.ready("web")
    core.deploy(app_spec(args=["slow"], timeouts={"startup": seconds(5)}))
    new = core.instances("web")[1]
    core.report(new.id, pb.INSTANCE_STATE_PREPARING)
    for _ in range(40):
        core.renew()
        core.advance(5)
    assert core.app("web").state == pb.APP_STATE_DEPLOYING
    core.report(new.id, pb.INSTANCE_STATE_STARTING, message=f"{said}/health answers 503")
    core.renew()
    core.advance(6)
    assert core.app("web").state == pb.APP_STATE_DEPLOYING
    core.renew()
    core.advance(2)
    assert core.app("web").state == pb.APP_STATE_FAILED
    assert core.said("web", "Progressing")[1] == (
        "revision 2 was not ready within 5 s: /health answers 503"
    )
    assert core.world.instances[new.id].intent == STOP


def test_a_first_revision_that_failed_may_still_become_ready(core):
    core.deploy(app_spec())
    instance = core.only("web")
    core.report(instance.id, pb.INSTANCE_STATE_BACKOFF, consecutive_failures=3, last_exit="x")
    assert core.app("web").state == pb.APP_STATE_FAILED
    assert core.only("web").intent == RUN
    before = core.app("web")
    core.report(instance.id, pb.INSTANCE_STATE_BACKOFF, consecutive_failures=4, last_exit="x")
    assert core.app("web") == before
    core.ready("web")
    assert core.app("web").state == pb.APP_STATE_READY


def test_a_hard_coded_port_is_rolled_out_stop_then_start(core):
    spec = {"port": 8080, "command": ["serve", "--port", "8080"]}
    core.deploy(app_spec(**spec))
    core.ready("web")
    core.deploy(app_spec(env_vars={"A": "1"}, **spec))
    old = core.only("web")
    assert old.intent == DRAIN
    assert core.said("web", "Progressing") == (
        "StoppingOld",
        "revision 2 starts when the old instances have left port 8080",
    )
    core.gone(old.id)
    assert core.only("web").revision == 2
    core.ready("web")
    assert core.app("web").state == pb.APP_STATE_READY


def test_a_hard_coded_port_falls_back_to_the_old_revision(core):
    spec = {"port": 8080, "command": ["serve", "--port", "8080"]}
    core.deploy(app_spec(**spec))
    core.ready("web")
    core.deploy(app_spec(env_vars={"A": "1"}, **spec))
    core.all_gone("web")
    core.report(core.only("web").id, pb.INSTANCE_STATE_BACKOFF, consecutive_failures=3)
    core.all_gone("web")
    assert core.only("web").revision == 1
    core.ready("web")
    assert core.app("web").serving_revision == 1
    assert core.app("web").state == pb.APP_STATE_FAILED


def test_two_apps_with_one_hard_coded_port_say_who_holds_it(core):
    spec = {"port": 8080, "args": ["http.server", "8080"]}
    core.deploy(app_spec("one", **spec))
    core.deploy(app_spec("two", **spec))
    holder = core.only("one").id
    assert f"has port 8080 in use by instance `{holder}`" in core.said("two")[1]


def test_scaling_up_and_down(core):
    core.deploy(app_spec())
    core.ready("web")
    core.update("web", scale=pb.ScaleApp(min_replicas=3))
    assert core.app("web").revision == 1
    first, second, third = core.instances("web")
    core.report(third.id, pb.INSTANCE_STATE_READY)
    assert core.said("web") == ("Degraded", "2 of 3 ready")
    core.update("web", scale=pb.ScaleApp(min_replicas=1))
    assert intents(core) == {first.id: RUN, second.id: STOP, third.id: DRAIN}


def test_an_old_etag_is_refused(core):
    core.deploy(app_spec())
    with pytest.raises(ConflictError):
        core.update("web", etag=999, desired_state=pb.DESIRED_STATE_INACTIVE)


def test_delete_drains_and_forgets(core):
    core.deploy(app_spec(min_replicas=2))
    core.report(core.instances("web")[0].id, pb.INSTANCE_STATE_READY)
    core.delete("web")
    assert core.app("web").state == pb.APP_STATE_DELETING
    assert sorted(intents(core).values()) == [DRAIN, STOP]
    core.all_gone("web")
    assert not core.world.apps
    assert not core.world.instances


def test_a_deploy_brings_a_deleted_app_back_as_a_new_revision(core):
    core.deploy(app_spec())
    core.ready("web")
    core.delete("web")
    core.deploy(app_spec())
    app = core.app("web")
    assert (app.revision, app.serving_revision, app.deleting) == (2, 0, False)
    core.all_gone("web")
    core.ready("web")
    assert core.app("web").state == pb.APP_STATE_READY


def test_an_instance_that_dies_while_it_drains_is_stopped(core):
    core.deploy(app_spec())
    core.ready("web")
    core.delete("web")
    core.report(core.only("web").id, pb.INSTANCE_STATE_BACKOFF, last_exit="signal 9")
    assert core.only("web").intent == STOP


def test_a_crash_is_said_with_its_exit(core):
    core.deploy(app_spec())
    core.ready("web")
    identifier = core.only("web").id
    core.report(identifier, pb.INSTANCE_STATE_BACKOFF, last_exit="exit code 3", restarts=1)
    assert core.said("web") == ("Restarting", "ended (exit code 3) and is being started again")
    assert core.app("web").state == pb.APP_STATE_DEPLOYING
    assert endpoints(core) == []
    core.report(
        identifier, pb.INSTANCE_STATE_BACKOFF, last_exit="exit code 3", consecutive_failures=3
    )
    assert core.said("web") == (
        "CrashLoop",
        "crashes again and again (exit code 3): see `callmesh logs app/web`",
    )


def test_a_lost_node_is_replaced_and_forgotten_once_the_replacement_is_ready(core):
    core.join("n2")
    core.deploy(app_spec())
    first = core.only("web")
    core.ready("web")
    other = "n2" if first.node == "n1" else "n1"
    core.leave(first.node)
    core.advance(LEASE - 1)
    core.renew(other)
    assert endpoints(core) == [(first.id, 1)]
    core.advance(2)
    assert endpoints(core) == []
    kept, new = core.instances("web")
    assert (kept.id, new.node) == (first.id, other)
    core.report(new.id, pb.INSTANCE_STATE_READY)
    assert core.only("web").id == new.id


def test_a_lost_node_that_comes_back_first_keeps_its_instance(core):
    core.deploy(app_spec())
    core.ready("web")
    identifier = core.only("web").id
    core.leave()
    core.advance(LEASE + 1)
    assert core.app("web").state == pb.APP_STATE_PENDING
    assert "was lost" in core.said("web")[1]
    core.join(complete=False)
    core.report(identifier, pb.INSTANCE_STATE_READY)
    core.perform(liveness.instances_complete(core.world, "n1", core.now))
    assert core.only("web").id == identifier
    assert core.app("web").state == pb.APP_STATE_READY


def test_a_fixed_port_on_a_lost_node_stays_held_until_the_node_comes_back(core):
    spec = {"port": 8080, "command": ["serve", "--port", "8080"]}
    core.deploy(app_spec(**spec))
    core.ready("web")
    old = core.only("web").id
    core.leave()
    core.deploy(app_spec(env_vars={"A": "1"}, **spec))
    core.advance(LEASE + 1)
    core.join(complete=False)
    core.report(old, pb.INSTANCE_STATE_DRAINING)
    core.perform(liveness.instances_complete(core.world, "n1", core.now))
    assert core.only("web").id == old
    core.gone(old)
    assert core.only("web").revision == 2


def test_the_old_revision_gets_a_place_again_after_the_new_one_failed(core):
    core.deploy(app_spec())
    core.ready("web")
    core.deploy(app_spec(args=["broken"]))
    core.report(core.instances("web")[1].id, pb.INSTANCE_STATE_BACKOFF, consecutive_failures=3)
    core.all_gone("web")
    core.leave()
    core.advance(LEASE + 1)
    assert core.said("web")[1] == (
        "revision 2 failed to start 3 times in a row: it never became ready, "
        "and revision 1 fits no node: node `n1` was lost: its lease is over"
    )
    core.join("n2")
    assert [(each.node, each.revision) for each in core.instances("web")] == [
        ("n1", 1),
        ("n2", 1),
    ]


def test_deleting_an_app_does_not_wait_for_a_lost_node(core):
    core.deploy(app_spec())
    core.ready("web")
    core.leave()
    core.advance(LEASE + 1)
    core.delete("web")
    assert not core.world.apps


def restarted(core: Core) -> Core:
    """A new server over the same records: nothing of the nodes is known."""
    again = Core(now=core.now, epoch=core.ids.epoch + 1)
    for node in core.world.nodes.values():
        again.apply([do.PutNode(liveness.remembered(node.record, again.now, LEASE))])
    again.apply(do.PutApp(each) for each in core.world.apps.values())
    again.apply(do.PutInstance(each) for each in core.world.instances.values())
    for key in core.world.tasks:
        again.ledger.put_task(core.world.tasks[key])
    again.apply(do.PutRun(each) for each in core.world.runs.values())
    again.mark(again.ledger.all_keys())
    again.perform([])
    return again


def test_after_a_restart_nothing_is_decided_before_the_node_has_spoken(core):
    core.deploy(app_spec())
    core.ready("web")
    again = restarted(core)
    assert again.app("web") == core.app("web")
    assert not liveness.is_settled(again.world)
    again.join(complete=False)
    identifier = again.only("web").id
    again.report(identifier, pb.INSTANCE_STATE_READY)
    assert endpoints(again) == []
    again.perform(liveness.instances_complete(again.world, "n1", again.now))
    assert liveness.is_settled(again.world)
    assert endpoints(again) == [(identifier, 1)]
    assert again.app("web").state == pb.APP_STATE_READY


def test_what_a_node_does_not_report_is_started_again_or_gone(core):
    core.deploy(app_spec())
    core.ready("web")
    core.deploy(app_spec("gone"))
    core.ready("gone")
    core.delete("gone")
    again = restarted(core)
    again.join()
    assert again.only("web").status.state == pb.INSTANCE_STATE_PENDING
    assert AppName("default", "development", "gone") not in again.world.apps


def test_a_report_with_an_older_fence_changes_nothing(core):
    core.deploy(app_spec())
    instance = core.only("web")
    report = node_pb2.InstanceReport(id=instance.id)
    report.status.state = pb.INSTANCE_STATE_READY
    assert instances.reported(core.world, "n1", report, core.now) == []
    report.fence.CopyFrom(instance.fence)
    assert instances.reported(core.world, "n9", report, core.now) == []


def test_notices_are_said_once_each():
    spec = app_spec(port=80, args=["-p", "80"], min_replicas=0, requires_auth=True)
    said = revisions.notices(spec)
    assert [line.split("`")[1] for line in said] == ["web", "web", "web"]
    assert "port 80" in said[0]
    assert "scaling to zero" in said[1]
    assert "requires_auth" in said[2]


@pytest.mark.parametrize(
    ("args", "port"),
    [
        (["--port", "8080"], 8080),
        (["--server.port=8080"], 8080),
        (["0.0.0.0:8080"], 8080),
        (["serve -p 8080 -q"], 8080),
        (["--port", "$PORT"], 0),
        (["18080", "80801", "1.8080"], 0),
    ],
)
def test_a_port_is_hard_coded_where_it_stands_as_a_token(args, port):
    assert revisions.hard_coded_port(app_spec(port=8080, args=args)) == port


def test_the_desired_set_carries_each_instances_own_specification(core):
    core.deploy(app_spec(args=["one"]))
    core.ready("web")
    core.deploy(app_spec(args=["two"]))
    wanted = view.desired_set(core.world, "n1", 7)
    assert wanted.version == 7
    assert [list(each.spec.args) for each in wanted.instances] == [["one"], ["two"]]
    assert not any(each.instance.HasField("status") for each in wanted.instances)
