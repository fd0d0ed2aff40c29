"""Small things that a node keeps on disk, and conditions that it shows."""

from __future__ import annotations

import asyncio
import json
import os
import socket

import pytest

from callmesh_agent import dataplane, retention, spool
from callmesh_agent.conditions import Conditions
from callmesh_agent.config import AgentSettings
from callmesh_agent.core.instructions import LocalEndpoint
from callmesh_agent.dataplane import DataPlane
from callmesh_agent.heldview import HeldView
from callmesh_agent.identities import Identities
from callmesh_agent.kept import Kept
from callmesh_agent.xds.rejections import Rejection
from callmeshpb.v1 import common_pb2, node_pb2, registry_pb2, supervisor_pb2


def test_the_spool_is_read_and_what_is_no_result_is_removed(tmp_path):
    report = node_pb2.AttemptReport(run="r", fence=common_pb2.Fence(epoch=1, counter=2))
    (tmp_path / "r.1.2.report").write_bytes(report.SerializeToString())
    (tmp_path / "x.report").write_bytes(b"\xff\xff")
    (tmp_path / "y.9.tmp").write_bytes(b"half")
    assert spool.read(tmp_path) == (report,)
    assert not (tmp_path / "x.report").exists()
    spool.remove(tmp_path, "r", 1, 2)
    spool.remove(tmp_path, "r", 1, 2)
    assert spool.read(tmp_path) == ()


def test_logs_of_the_ended_go_when_they_are_old_or_too_many(tmp_path, monkeypatch):
    monkeypatch.setattr(retention, "LOG_BYTES", 25)
    for age, name in enumerate(["new", "mid", "used", "over"]):
        (tmp_path / f"{name}.log").write_bytes(b"x" * 10)
        os.utime(tmp_path / f"{name}.log", (1000 - age, 1000 - age))
    assert retention.prune_logs(tmp_path, {"used"}, 1000.0) == ["over.log"]
    late = 1000.0 + retention.LOG_SECONDS
    assert retention.prune_logs(tmp_path, {"used"}, late) == ["mid.log"]


def test_a_process_is_known_by_its_ancestors():
    identities = Identities()
    assert identities.of(os.getpid()) is None
    process = supervisor_pb2.Process(process_id="app/a", pid=os.getppid())
    identities.add(process)
    assert identities.of(os.getpid()) == process
    identities.remove(supervisor_pb2.Process(process_id="app/b", pid=os.getppid()))
    assert identities.of(os.getpid()) == process
    identities.remove(process)
    assert identities.of(os.getpid()) is None
    assert identities.of(2**22 + 1) is None


@pytest.fixture
def settings(tmp_path):
    return AgentSettings(
        state_dir=tmp_path, runtime_dir=tmp_path, ingress_port=7480,
        pages_socket=tmp_path / "web.sock", version="1",
    )  # fmt: skip


def view(*endpoints, name="web", port=20001):
    service = registry_pb2.Service(
        project="default", domain="development", name=name, mesh_name=name, mesh_port=port,
        protocol=common_pb2.PROTOCOL_HTTP, endpoint=f"http://127.0.0.1:{port}",
        endpoints=endpoints,
    )  # fmt: skip
    return node_pb2.MeshView(version=1, services=[node_pb2.ServiceView(service=service)])


def here(instance_id):
    return registry_pb2.Endpoint(
        instance_id=instance_id, node="local", address="127.0.0.1", port=9000,
        health=registry_pb2.ENDPOINT_HEALTH_READY,
    )  # fmt: skip


def plane(settings, problems, kept=None):
    """A data plane, and what gives it a view; ``problems`` is kept as they are."""
    held = HeldView(kept or Kept(settings, print))

    def said(conditions):
        problems[:] = [(each.type, each.message) for each in conditions]

    made = DataPlane(settings, held, Conditions(said, print), lambda _: None)

    def receive(view):
        held.take(node_pb2.ServerMessage(mesh_view=view))
        return made.follow_view()

    return made, receive


async def test_a_view_is_kept_and_goes_on_with_the_next_agent(settings):
    kept = Kept(settings, print)
    first, receive = plane(settings, [], kept)
    first.open()
    assert json.loads(settings.endpoints_file.read_text()) == {}
    assert receive(view(here("web-1"))) == {"web": "http://127.0.0.1:20001"}
    kept.flush()
    second, _ = plane(settings, [])
    assert second.ready_here() == {"web-1"}
    second.open()
    assert json.loads(settings.endpoints_file.read_text()) == {"web": "http://127.0.0.1:20001"}
    assert second.port_of("web") == 20001
    assert second.port_of("callmesh/ingress") == 7480


async def test_a_view_that_cannot_be_served_is_said_and_the_last_one_stays(settings):
    problems = []
    made, receive = plane(settings, problems)
    receive(view(name="web"))
    receive(view(name="web", port=0))
    [(kind, message)] = problems
    assert kind == "ViewConsistent"
    assert "mesh port 0" in message
    receive(view(name="web"))
    assert problems == []
    made.set_local({"web-1": LocalEndpoint("127.0.0.1", 9000, ready=True)})
    await made.taken()


async def test_endpoints_that_cannot_be_written_are_said_and_tried_again(settings, monkeypatch):
    monkeypatch.setattr(dataplane, "RETRY_WRITE", 0.01)
    problems = []
    made, receive = plane(settings, problems)
    # Root may write everywhere: a folder in the file's place is in anybody's way.
    settings.endpoints_file.mkdir()
    made.open()
    assert receive(view()) == {"web": "http://127.0.0.1:20001"}
    [(kind, message)] = problems
    assert kind == "EndpointsWritten"
    assert f"`{settings.endpoints_file}` cannot be written" in message
    settings.endpoints_file.rmdir()
    async with asyncio.timeout(10):
        while problems:
            await asyncio.sleep(0.01)
    assert json.loads(settings.endpoints_file.read_text()) == {"web": "http://127.0.0.1:20001"}


async def test_endpoints_are_written_when_they_change_only(settings):
    _, receive = plane(settings, [])
    receive(view())
    settings.endpoints_file.unlink()
    receive(view(here("web-1")))
    assert not settings.endpoints_file.exists()
    receive(view(port=20002))
    assert json.loads(settings.endpoints_file.read_text()) == {"web": "http://127.0.0.1:20002"}


def test_a_taken_port_is_named_with_its_holder():
    reported, ports = [], []
    conditions = Conditions(reported.append, ports.append)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        refused = Rejection("envoy", "Listener", "web", "cannot bind", 1)
        conditions.rejected([refused], lambda _: port)
    (condition,) = reported[-1]
    assert (condition.type, condition.reason) == ("PortConflict", "PortTaken")
    assert f"port {port} of `web` is held by process {os.getpid()}" in condition.message
    conditions.rejected([], lambda _: port)
    assert reported[-1] == []
    assert ports == [[port], []]


def test_a_condition_is_reported_when_it_changes_only():
    reported, ports = [], []
    conditions = Conditions(reported.append, ports.append)
    conditions.envoy_ready()
    conditions.envoy_ready()
    conditions.envoy_away("gone")
    assert [each[0].status for each in reported] == [
        common_pb2.CONDITION_STATUS_TRUE,
        common_pb2.CONDITION_STATUS_FALSE,
    ]
