"""`drain`, `undrain`, `delete node`, and what is told of nodes that are not in use."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from callmesh.cli import main as program
from callmesh.cli import options
from callmesh_wire import errors
from callmeshpb.v1 import node_pb2, scheduler_pb2

Capture = pytest.CaptureFixture[str]
Golden = Callable[[str, str], None]

WORK = scheduler_pb2.NodeWork


def draining(mesh: Any, *left: scheduler_pb2.NodeWork, **fields: Any) -> scheduler_pb2.Node:
    node = mesh.node()
    node.name = "worker-2"
    node.instances = sum(each.instances for each in left)
    node.attempts = sum(bool(each.run) for each in left)
    node.drain.started_at.CopyFrom(mesh.at(60))
    node.drain.deadline_at.CopyFrom(mesh.at(-540))
    node.drain.left.extend(left)
    for name, value in fields.items():
        setattr(node, name, value)
    return node


def app_left(message: str = "revision 3 leaves node `worker-2`: 1 of 2 ready") -> Any:
    return WORK(project="default", domain="development", app="web", instances=2, message=message)


def run_left() -> scheduler_pb2.NodeWork:
    return WORK(
        project="default",
        domain="development",
        run="r-abc",
        message="attempt 1 of task `work.add` runs",
    )


def answers(mesh: Any, *nodes: scheduler_pb2.Node) -> None:
    mesh.handlers["NodeService/Drain"] = lambda _: node_pb2.DrainResponse(node=nodes[0])
    mesh.handlers["SchedulerService/WatchNode"] = lambda _: [
        scheduler_pb2.WatchNodeResponse(node=each) for each in nodes
    ]


def test_drain_says_what_is_left_and_why_until_the_node_is_empty(
    mesh: Any, capsys: Capture
) -> None:
    answers(
        mesh,
        draining(mesh, app_left(), run_left()),
        draining(mesh, app_left(), run_left()),
        draining(mesh, run_left()),
        draining(mesh),
    )
    assert program.run(["drain", "worker-2", "--deadline", "1h30m"]) == 0
    request = mesh.last(node_pb2.DrainRequest)
    assert (request.node, request.deadline.seconds, request.undo) == ("worker-2", 5400, False)
    assert request.request_id
    said = capsys.readouterr()
    assert said.out == ""
    lines = said.err.splitlines()
    assert lines[0].startswith("node `worker-2` takes no new work; what is on it has ")
    assert lines[1:] == [
        "2 instances of app `web`: revision 3 leaves node `worker-2`: 1 of 2 ready",
        "run `r-abc`: attempt 1 of task `work.add` runs",
        "node `worker-2` is empty; `callmesh undrain worker-2` takes it back into use",
    ]


def test_drain_fails_where_work_was_ended_at_the_deadline(mesh: Any, capsys: Capture) -> None:
    empty = draining(mesh)
    empty.drain.expired = True
    empty.drain.ended.append(app_left("fits no other node: node `b` has 1 GiB"))
    answers(mesh, draining(mesh, app_left()), empty)
    assert program.run(["drain", "worker-2"]) == 1
    assert not mesh.last(node_pb2.DrainRequest).HasField("deadline")
    said = capsys.readouterr().err
    assert "error: node `worker-2` is empty, and this was ended at the deadline:" in said
    assert "  2 instances of app `web`: fits no other node: node `b` has 1 GiB\n" in said


def test_drain_need_not_wait(mesh: Any, capsys: Capture) -> None:
    answers(mesh, draining(mesh, app_left()))
    assert program.run(["drain", "worker-2", "--no-wait", "--deadline", "0"]) == 0
    assert mesh.last(node_pb2.DrainRequest).HasField("deadline")
    assert "`callmesh drain worker-2` shows how far it is" in capsys.readouterr().err


def test_a_drain_that_somebody_takes_back_ends(mesh: Any, capsys: Capture) -> None:
    back = mesh.node()
    answers(mesh, draining(mesh, app_left()), back)
    assert program.run(["drain", "worker-2"]) == 1
    assert "taken back into use by somebody" in capsys.readouterr().err


@pytest.mark.parametrize("wrong", ["10", "m", "", "-5m", "1h 5x", "soon"])
def test_a_deadline_has_units(wrong: str, capsys: Capture) -> None:
    assert program.run(["drain", "worker-2", f"--deadline={wrong}"]) == 2
    assert "such as 90s, 10m or 1h30m" in capsys.readouterr().err


def test_spans_are_seconds() -> None:
    given = {"0": 0, "90s": 90, "10m": 600, "1h30m": 5400, "2d": 172_800, "1.5s": 1.5}
    assert {text: options.span(text) for text in given} == given


def test_undrain_and_delete_say_what_was_done(mesh: Any, capsys: Capture) -> None:
    mesh.handlers["NodeService/Drain"] = lambda _: node_pb2.DrainResponse(node=mesh.node())
    mesh.handlers["SchedulerService/DeleteNode"] = lambda _: scheduler_pb2.DeleteNodeResponse()
    assert program.run(["undrain", "worker-2"]) == 0
    assert mesh.last(node_pb2.DrainRequest).undo
    assert program.run(["delete", "node", "worker-2"]) == 0
    assert mesh.last(scheduler_pb2.DeleteNodeRequest).name == "worker-2"
    assert capsys.readouterr().err.splitlines() == [
        "node `worker-2` takes work again",
        "node `worker-2` is deleted",
    ]


def test_an_unknown_node_ends_the_command_with_its_sentence(mesh: Any, capsys: Capture) -> None:
    def refuse(_: object) -> Any:
        raise errors.NotFoundError("there is no node `nope`: there is `laptop`")

    mesh.handlers["NodeService/Drain"] = refuse
    assert program.run(["drain", "nope"]) == 1
    assert "there is no node `nope`: there is `laptop`" in capsys.readouterr().err


def nodes_of_every_state(mesh: Any) -> list[scheduler_pb2.Node]:
    busy = draining(mesh, app_left(), run_left())
    expired = draining(mesh, app_left(), name="expired")
    expired.drain.expired = True
    expired.drain.ended.append(app_left())
    empty, off = draining(mesh, name="empty"), draining(mesh, name="off", connected=False)
    off.away_since.CopyFrom(mesh.at(300))
    away, lost = mesh.node(), mesh.node()
    away.name, away.connected = "away", False
    away.away_since.CopyFrom(mesh.at(3))
    lost.name, lost.connected, lost.lost = "lost", False, True
    lost.away_since.CopyFrom(mesh.at(720))
    return [away, busy, empty, expired, lost, off]


def test_nodes_of_several_machines_show_where_they_are(
    mesh: Any, capsys: Capture, golden: Golden
) -> None:
    west, nowhere = mesh.node(), mesh.node()
    west.name, west.zone = "ip-10-0-0-2.eu-west-1.compute.internal", "west"
    west.address = "fd00:1234:5678:9abc::10"
    mesh.handlers["SchedulerService/ListNodes"] = lambda _: scheduler_pb2.ListNodesResponse(
        nodes=[west, nowhere]
    )
    assert program.run(["get", "nodes"]) == 0
    golden("get_nodes_in_zones.txt", capsys.readouterr().out)


def test_nodes_that_are_not_in_use_say_what_to_do(
    mesh: Any, capsys: Capture, golden: Golden
) -> None:
    found = nodes_of_every_state(mesh)
    mesh.handlers["SchedulerService/ListNodes"] = lambda _: scheduler_pb2.ListNodesResponse(
        nodes=found
    )
    assert program.run(["get", "nodes"]) == 0
    said = capsys.readouterr()
    golden("get_nodes_of_every_state.txt", said.out + said.err)
    assert program.run(["get", "nodes", "-o", "json"]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    states = {each["name"]: each["state"] for each in json.loads(said.out)}
    assert states == {
        "away": "away",
        "worker-2": "draining",
        "empty": "drained",
        "expired": "draining",
        "lost": "lost",
        "off": "drained",
    }
    assert json.loads(said.out)[1]["drain"]["left"][1]["run"] == "r-abc"
    for name in ("worker-2", "expired"):
        assert program.run(["describe", "node", name]) == 0
        golden(f"describe_node_{name}.txt", capsys.readouterr().out)
