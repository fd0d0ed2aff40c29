"""Instances: started, ready, crashed, drained, adopted."""

from __future__ import annotations

import signal

from callmesh_agent.core import events
from callmesh_agent.core import instructions as do
from callmesh_agent.core.instances import spec_hash
from callmesh_agent.core.state import Phase
from callmeshpb.v1 import common_pb2, scheduler_pb2

WEB = "web-1-aaaaa"


def serving(node, tools, **spec):
    node.want(tools.desired(**spec))
    process = node.started(WEB)
    node.ready(WEB)
    return process


def test_a_command_is_spawned_and_probed(node, tools):
    assert do.StartInstance(WEB, "") in node.want(tools.desired())
    process = node.process(f"app/{WEB}")
    assert do.Probe(WEB, 1) in node.feed(events.ProcessStarted(process))


def test_a_ready_instance_is_published_before_it_is_reported(node, tools):
    node.want(tools.desired())
    node.started(WEB)
    made = node.ready(WEB, port=9000)
    assert made[0] == do.Publish({WEB: do.LocalEndpoint("127.0.0.1", 9000, ready=True, open=True)})
    (report,) = tools.of(do.ReportInstance, made)
    assert report.report.status.state == scheduler_pb2.INSTANCE_STATE_READY
    # Others hear of it once their calls get in; a session hears of all there is at once.
    assert not report.at_once
    (again,) = tools.of(do.ReportInstance, node.feed(events.SessionOpened()))
    assert again.at_once


def test_an_exit_is_published_before_anything_else(node, tools):
    process = serving(node, tools)
    made = node.exit(process, -9)
    assert made[0] == do.Publish({})
    assert made[1] == do.ForgetProcess(f"app/{WEB}")


def test_the_first_crash_of_what_was_ready_is_repaired_at_once(node, tools):
    process = serving(node, tools)
    made = node.exit(process, -9)
    assert do.StartInstance(WEB, "") in made
    instance = node.state.instances[WEB]
    assert (instance.restarts, instance.failures) == (1, 0)
    assert instance.last_exit == "signal 9 (SIGKILL)"


def test_a_crash_loop_backs_off_and_says_why(node, tools):
    node.want(tools.desired())
    delays = []
    for failure in range(1, 5):
        process = node.started(WEB)
        node.exit(process, 1, "Traceback", "boom")
        instance = node.state.instances[WEB]
        assert instance.phase is Phase.BACKOFF
        assert instance.failures == failure
        delays.append(instance.wake_at - node.now)
        node.advance(delays[-1])
        assert node.state.instances[WEB].phase is Phase.STARTING
    assert delays == [0.5, 1.0, 2.0, 4.0]
    status = tools.of(do.ReportInstance, node.done)[-2].report.status
    assert status.last_exit == "exit code 1"
    assert list(status.log_tail) == ["Traceback", "boom"]
    assert "before it was ready" in status.message


def test_what_is_back_still_says_how_it_ended_last(node, tools):
    process = serving(node, tools)
    node.exit(process, 7, "the disk is on fire")
    node.started(WEB)
    node.ready(WEB)
    status = tools.of(do.ReportInstance, node.done)[-1].report.status
    assert status.state == scheduler_pb2.INSTANCE_STATE_READY
    assert (status.last_exit, list(status.log_tail)) == ("exit code 7", ["the disk is on fire"])


def test_crashes_are_forgotten_after_five_healthy_minutes(node, tools):
    process = serving(node, tools)
    node.exit(process, 1)
    process = node.started(WEB)
    node.ready(WEB)
    node.advance(299)
    node.exit(process, 1)
    assert node.state.instances[WEB].phase is Phase.BACKOFF
    node.advance(1)
    process = node.started(WEB)
    node.ready(WEB)
    node.advance(301)
    node.exit(process, 1)
    assert node.state.instances[WEB].phase is Phase.STARTING


def test_what_is_not_ready_in_time_is_ended_and_counts_as_failed(node, tools):
    node.want(tools.desired())
    process = node.started(WEB)
    node.feed(events.InstanceNoted(WEB, 1, "nothing listens on port 9000"))
    made = node.advance(60)
    assert do.SignalProcess(f"app/{WEB}", signal.SIGTERM, kill_after=10.0) in made
    node.exit(process, -15)
    instance = node.state.instances[WEB]
    assert instance.failures == 1
    assert "not ready within 60 s: nothing listens on port 9000" in instance.message


def test_that_it_is_exposed_is_a_mark_and_no_reason(node, tools):
    node.want(tools.desired())
    node.started(WEB)
    node.feed(events.InstanceReady(WEB, 1, "127.0.0.1", 9000, exposed=True))
    instance = node.state.instances[WEB]
    assert (instance.exposed, instance.message) == (True, "")


def test_the_startup_limit_is_the_apps_own(node, tools):
    wanted = tools.desired()
    wanted.spec.timeouts.startup.FromSeconds(5)
    node.want(wanted)
    node.started(WEB)
    assert tools.of(do.SignalProcess, node.advance(4.9)) == []
    assert tools.of(do.SignalProcess, node.advance(0.2))


def test_a_drain_takes_its_steps_in_order(node, tools):
    process = serving(node, tools)
    made = node.want(tools.desired(intent=scheduler_pb2.INSTANCE_INTENT_DRAIN))
    assert made[0] == do.Publish({WEB: do.LocalEndpoint("127.0.0.1", 9000, ready=False)})
    assert do.LeaveRotation(WEB, 1) in made
    assert tools.of(do.SignalProcess, made) == []
    made = node.feed(events.RotationLeft(WEB, 1))
    assert do.AwaitDrained(WEB, 1, 9000) in made
    made = node.feed(events.ConnectionsGone(WEB, 1))
    assert do.SignalProcess(f"app/{WEB}", signal.SIGTERM, kill_after=10.0) in made
    made = node.exit(process, 0)
    (report,) = tools.of(do.ReportInstance, made)
    assert report.report.gone
    node.want()
    assert node.state.instances == {}


def test_other_nodes_calls_are_taken_until_those_have_heard(node, tools):
    serving(node, tools)
    going = tools.desired(intent=scheduler_pb2.INSTANCE_INTENT_DRAIN)
    going.called_elsewhere = True
    made = node.want(going)
    assert made[0] == do.Publish({WEB: do.LocalEndpoint("127.0.0.1", 9000, ready=False, open=True)})
    assert tools.of(do.LeaveRotation, made) == []
    assert tools.of(do.LeaveRotation, node.advance(5)) == []
    going.called_elsewhere = False
    made = node.want(going)
    assert made[0] == do.Publish({WEB: do.LocalEndpoint("127.0.0.1", 9000, ready=False)})
    assert do.LeaveRotation(WEB, 1) in made
    # The drain's time runs from here.
    node.feed(events.RotationLeft(WEB, 1))
    assert tools.of(do.SignalProcess, node.advance(29.9)) == []
    assert tools.of(do.SignalProcess, node.advance(0.2))


def test_a_node_that_never_hears_holds_up_nobody_for_ever(node, tools):
    serving(node, tools)
    going = tools.desired(intent=scheduler_pb2.INSTANCE_INTENT_DRAIN)
    going.called_elsewhere = True
    node.want(going)
    assert tools.of(do.LeaveRotation, node.advance(19.9)) == []
    assert tools.of(do.LeaveRotation, node.advance(0.2))


def test_a_stop_minds_no_other_node(node, tools):
    serving(node, tools)
    going = tools.desired(intent=scheduler_pb2.INSTANCE_INTENT_DRAIN)
    going.called_elsewhere = True
    node.want(going)
    going.instance.intent = scheduler_pb2.INSTANCE_INTENT_STOP
    assert tools.of(do.SignalProcess, node.want(going))


def test_a_drain_ends_when_its_time_is_up(node, tools):
    serving(node, tools)
    node.want(tools.desired(intent=scheduler_pb2.INSTANCE_INTENT_DRAIN))
    node.feed(events.RotationLeft(WEB, 1))
    assert tools.of(do.SignalProcess, node.advance(29.9)) == []
    assert tools.of(do.SignalProcess, node.advance(0.2))


def test_a_drain_in_which_it_dies_is_over(node, tools):
    process = serving(node, tools)
    node.want(tools.desired(intent=scheduler_pb2.INSTANCE_INTENT_DRAIN))
    made = node.exit(process, -11)
    assert tools.of(do.StartInstance, made) == []
    assert node.state.instances[WEB].phase is Phase.STOPPED


def test_a_stop_does_not_wait_for_calls(node, tools):
    serving(node, tools)
    made = node.want(tools.desired(intent=scheduler_pb2.INSTANCE_INTENT_STOP))
    assert made[0] == do.Publish({WEB: do.LocalEndpoint("127.0.0.1", 9000, ready=False)})
    assert tools.of(do.SignalProcess, made)


def test_what_was_never_ready_is_ended_without_a_drain(node, tools):
    node.want(tools.desired())
    node.started(WEB)
    made = node.want(tools.desired(intent=scheduler_pb2.INSTANCE_INTENT_DRAIN))
    assert tools.of(do.SignalProcess, made)


def test_an_end_that_nobody_brings_about_is_insisted_on(node, tools):
    serving(node, tools)
    node.want(tools.desired(intent=scheduler_pb2.INSTANCE_INTENT_STOP))
    made = node.advance(15)
    assert do.SignalProcess(f"app/{WEB}", signal.SIGKILL) in made


def test_what_starts_while_it_is_unwanted_is_ended_at_once(node, tools):
    node.want(tools.desired())
    node.want()
    assert WEB in node.state.instances
    process = node.process(f"app/{WEB}")
    assert tools.of(do.SignalProcess, node.feed(events.ProcessStarted(process)))
    made = node.exit(process, -15)
    assert node.state.instances == {}
    assert tools.of(do.ReportInstance, made)[0].report.gone


def test_nothing_is_started_without_a_supervisor(node, tools):
    node.feed(events.SupervisorLost())
    assert tools.of(do.StartInstance, node.want(tools.desired())) == []
    assert tools.of(do.StartInstance, node.supervised())


def test_code_is_unpacked_first_and_once(node, tools):
    code = common_pb2.Code(bundle="d1")
    made = node.want(tools.desired("a-1-aaaaa", code=code), tools.desired("b-1-aaaaa", code=code))
    assert tools.of(do.UnpackBundle, made) == [do.UnpackBundle("d1")]
    assert tools.of(do.StartInstance, made) == []
    made = node.feed(events.BundleUnpacked("d1"))
    assert len(tools.of(do.StartInstance, made)) == 2


def test_code_that_cannot_be_had_is_asked_for_again_later(node, tools):
    node.want(tools.desired(code=common_pb2.Code(bundle="d1")))
    node.feed(events.BundleFailed("d1", "no such blob"))
    assert node.state.instances[WEB].failures == 1
    assert do.UnpackBundle("d1") in node.advance(1)


def test_an_asgi_app_is_forked_from_the_base_zygote(node, tools):
    made = node.want(tools.desired(kind=scheduler_pb2.APP_KIND_ASGI))
    assert do.StartZygote("base", "", "") in made
    assert do.StartInstance(WEB, "base") in node.base_ready()


def test_without_a_base_zygote_it_is_spawned(node, tools):
    node.want(tools.desired(kind=scheduler_pb2.APP_KIND_ASGI))
    for _ in range(2):
        node.exit(node.process("zygote/base"), 1)
    assert tools.of(do.StartInstance, node.exit(node.process("zygote/base"), 1)) == [
        do.StartInstance(WEB, "")
    ]


def test_a_parameter_waits_for_the_address_of_the_other_app(node, tools):
    parameter = scheduler_pb2.AppParameter(name="backend", app_endpoint="api")
    assert tools.of(do.StartInstance, node.want(tools.desired(parameters=[parameter]))) == []
    assert "`api`" in node.state.instances[WEB].message
    made = node.feed(events.EndpointsChanged({"api": "http://127.0.0.1:20001"}))
    assert tools.of(do.StartInstance, made)


def test_a_lost_listener_takes_it_out_until_it_is_back(node, tools):
    serving(node, tools)
    made = node.feed(events.InstanceUnwell(WEB, 1, "gone", listener_lost=True))
    assert made[0] == do.Publish({WEB: do.LocalEndpoint("127.0.0.1", 9000, ready=False)})
    made = node.ready(WEB)
    assert made[0] == do.Publish({WEB: do.LocalEndpoint("127.0.0.1", 9000, ready=True, open=True)})


def test_a_listener_that_does_not_come_back_ends_it(node, tools):
    process = serving(node, tools)
    node.feed(events.InstanceUnwell(WEB, 1, "gone", listener_lost=True))
    assert tools.of(do.SignalProcess, node.advance(60))
    assert tools.of(do.StartInstance, node.exit(process, -15))


def test_an_unhealthy_one_is_left_alone(node, tools):
    serving(node, tools)
    node.feed(events.InstanceUnwell(WEB, 1, "GET /live answered 500"))
    assert tools.of(do.SignalProcess, node.advance(3600)) == []


def test_what_concerns_an_earlier_process_is_ignored(node, tools):
    process = serving(node, tools)
    node.exit(process, 1)
    node.started(WEB)
    assert node.feed(events.InstanceReady(WEB, 1, "127.0.0.1", 9000)) == []
    assert node.exit(process, 1) == [do.ForgetProcess(f"app/{WEB}")]


def test_a_living_process_with_the_same_specification_is_adopted(fresh_node, tools):
    wanted = tools.desired()
    process = fresh_node.process(
        f"app/{WEB}", port=9000, spec_hash=spec_hash(wanted), labels={"fence": "3.7"}
    )
    assert do.Probe(WEB, 1) in fresh_node.supervised(process)
    fresh_node.ready(WEB)
    made = fresh_node.feed(events.SessionOpened())
    (report,) = tools.of(do.ReportInstance, made)
    assert (report.report.fence.epoch, report.report.fence.counter) == (3, 7)
    made = fresh_node.want(wanted)
    assert tools.of(do.StartInstance, made) == tools.of(do.SignalProcess, made) == []
    assert fresh_node.state.instances[WEB].phase is Phase.READY


def test_one_with_another_specification_is_drained_and_replaced(fresh_node, tools):
    process = fresh_node.process(f"app/{WEB}", port=9000, spec_hash="other")
    fresh_node.supervised(process)
    fresh_node.ready(WEB)
    made = fresh_node.want(tools.desired())
    assert do.LeaveRotation(WEB, 1) in made
    fresh_node.feed(events.RotationLeft(WEB, 1), events.ConnectionsGone(WEB, 1))
    assert do.StartInstance(WEB, "") in fresh_node.exit(process, 0)


def test_an_adopted_one_that_nobody_wants_is_drained_once_that_is_known(fresh_node, tools):
    fresh_node.supervised(fresh_node.process(f"app/{WEB}", port=9000))
    fresh_node.ready(WEB)
    assert fresh_node.state.instances[WEB].phase is Phase.READY
    assert do.LeaveRotation(WEB, 1) in fresh_node.want()


def test_a_new_supervisor_that_lacks_a_process_means_its_end(node, tools):
    serving(node, tools)
    node.feed(events.SupervisorLost())
    made = node.supervised()
    assert made[0] == do.Publish({})
    assert do.StartInstance(WEB, "") in made


def test_a_start_whose_answer_was_lost_is_found_in_the_list(node, tools):
    node.want(tools.desired())
    node.feed(events.ProcessRefused(f"app/{WEB}", "lost", lost=True), events.SupervisorLost())
    node.state.instances[WEB]
    made = node.supervised(node.process(f"app/{WEB}", port=9000))
    assert tools.of(do.StartInstance, made) == []
    assert tools.of(do.Probe, made)


def test_the_hash_leaves_out_what_can_change_under_a_process(tools):
    one = tools.desired(version="1", description="a", min_replicas=1)
    two = tools.desired(version="2", description="b", min_replicas=3)
    three = tools.desired(env_vars={"A": "1"})
    assert spec_hash(one) == spec_hash(two) != spec_hash(three)


def test_without_a_session_nothing_is_reported(node, tools):
    node.feed(events.SessionClosed())
    assert tools.of(do.ReportInstance, node.want(tools.desired())) == []
    made = node.feed(events.SessionOpened())
    assert [type(each) for each in made] == [
        do.ReportInstance,
        do.ReportInstancesComplete,
        do.ReportAttemptsComplete,
    ]
