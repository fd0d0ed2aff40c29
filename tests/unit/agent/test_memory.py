"""A node that starts while the server is away, and one that a server speaks to again."""

from __future__ import annotations

from callmesh_agent.core import events
from callmesh_agent.core import instructions as do
from callmesh_agent.core.state import Phase
from callmeshpb.v1 import node_pb2, scheduler_pb2

RUNNING = scheduler_pb2.ATTEMPT_PHASE_RUNNING
SUCCEEDED = scheduler_pb2.ATTEMPT_PHASE_SUCCEEDED


def read(*instances, version=5):
    return events.DesiredRead(node_pb2.DesiredSet(version=version, instances=instances))


def received(*instances, version):
    return events.DesiredReceived(node_pb2.DesiredSet(version=version, instances=instances))


def test_what_was_wanted_is_started_without_a_server(fresh_node, tools):
    node = fresh_node
    node.supervised()
    made = node.feed(read(tools.desired("web-1-aaaaa")))
    (start,) = tools.of(do.StartInstance, made)
    assert start.instance_id == "web-1-aaaaa"
    assert tools.of(do.KeepDesired, made) == []
    node.started("web-1-aaaaa")
    node.ready("web-1-aaaaa")
    assert node.state.instances["web-1-aaaaa"].phase is Phase.READY


def test_what_lives_is_not_started_twice(fresh_node, tools):
    node = fresh_node
    wanted = tools.desired("web-1-aaaaa")
    node.supervised()
    node.feed(read(wanted))
    spec_hash = node.state.instances["web-1-aaaaa"].spec_hash
    other = type(node)()
    other.supervised(other.process("app/web-1-aaaaa", spec_hash=spec_hash))
    made = other.feed(read(wanted))
    assert tools.of(do.StartInstance, made) == []
    assert other.state.instances["web-1-aaaaa"].phase is Phase.PROBING


def test_what_lives_and_was_not_written_down_goes_on(fresh_node, tools):
    node = fresh_node
    node.supervised(node.process("app/web-2-bbbbb", spec_hash="h"))
    made = node.feed(read(tools.desired("web-1-aaaaa")))
    assert tools.of(do.SignalProcess, made) == []
    assert node.state.instances["web-2-bbbbb"].phase is Phase.PROBING


def test_what_was_to_end_is_not_started(fresh_node, tools):
    node = fresh_node
    node.supervised()
    wanted = tools.desired("web-1-aaaaa", scheduler_pb2.INSTANCE_INTENT_DRAIN)
    assert tools.of(do.StartInstance, node.feed(read(wanted))) == []
    made = node.feed(events.SessionOpened())
    (report,) = tools.of(do.ReportInstance, made)
    assert report.report.gone


def test_a_session_s_first_set_replaces_what_was_read(fresh_node, tools):
    node = fresh_node
    node.supervised()
    node.feed(read(tools.desired("web-1-aaaaa"), version=500))
    node.started("web-1-aaaaa")
    node.ready("web-1-aaaaa")
    made = node.feed(events.SessionOpened(), received(tools.desired("web-2-bbbbb"), version=3))
    assert [each.instance_id for each in tools.of(do.StartInstance, made)] == ["web-2-bbbbb"]
    assert node.state.instances["web-1-aaaaa"].phase is Phase.LEAVING
    (kept,) = tools.of(do.KeepDesired, made)
    assert kept.desired.version == 3


def test_the_version_never_goes_back_within_a_session(node, tools):
    node.feed(received(tools.desired("web-1-aaaaa"), version=8))
    assert node.feed(received(version=7)) == []
    assert not node.state.instances["web-1-aaaaa"].unwanted
    node.feed(events.SessionClosed(), events.SessionOpened(), received(version=2))
    assert node.state.instances["web-1-aaaaa"].unwanted


def test_an_end_that_no_server_takes_is_spooled_and_said_later(node, tools):
    order = node.order("r1")
    node.feed(events.AttemptOrdered(order))
    worker = node.worker()
    node.feed(events.AttemptReleased(node_pb2.AttemptGo(run="r1", fence=order.fence)))
    node.says(worker, order, RUNNING)
    node.feed(events.SessionClosed())
    made = node.says(worker, order, SUCCEEDED)
    (spooled,) = tools.of(do.SpoolAttempt, made)
    assert spooled.report.phase == SUCCEEDED
    assert tools.of(do.ReportAttempt, made) == []
    made = node.feed(events.SessionOpened())
    assert [each.report for each in tools.of(do.ReportAttempt, made)] == [spooled.report]
    made = node.feed(events.AttemptAcknowledged(node_pb2.AttemptAck(run="r1", fence=order.fence)))
    assert tools.of(do.ForgetSpooled, made) == [do.ForgetSpooled("r1", 1, order.fence.counter)]
    assert len(tools.of(do.SendAck, made)) == 1


def test_an_end_that_was_not_acknowledged_is_spooled_when_the_server_goes(node, tools):
    order = node.order("r1")
    node.feed(events.AttemptOrdered(order))
    worker = node.worker()
    node.feed(events.AttemptReleased(node_pb2.AttemptGo(run="r1", fence=order.fence)))
    assert tools.of(do.SpoolAttempt, node.says(worker, order, SUCCEEDED)) == []
    made = node.feed(events.SessionClosed())
    assert [each.report.run for each in tools.of(do.SpoolAttempt, made)] == ["r1"]
    assert tools.of(do.SpoolAttempt, node.feed(events.SessionClosed())) == []


def test_what_was_read_from_the_spool_is_not_written_again(fresh_node, tools):
    node = fresh_node
    order = node.order("r1")
    report = tools.report_of(order, SUCCEEDED, "worker-1")
    assert tools.of(do.SpoolAttempt, node.feed(events.SpoolRead((report,)))) == []
    made = node.feed(events.SessionOpened())
    assert [each.report for each in tools.of(do.ReportAttempt, made)] == [report]
