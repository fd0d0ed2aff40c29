"""More and fewer instances of an app, none at all, and visitors who stay with one."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

import grpc
import httpx
import psutil
import pytest
from load import Load
from mesh import Mesh, eventually
from mirror import mirror

from callmeshpb.v1 import common_pb2, scheduler_pb2, scheduler_pb2_grpc

pytestmark = pytest.mark.slow


def pids(mesh: Mesh, app: str) -> set[int]:
    found = mesh.json("get", "app", app)["instances"]
    return {i["pid"] for i in found if i["state"] == "ready"}


def change(mesh: Mesh, app: str, **fields: Any) -> scheduler_pb2.App:
    """An `UpdateApp` by the API's socket."""
    request = scheduler_pb2.UpdateAppRequest(
        request_id=secrets.token_hex(8),
        scope=common_pb2.Scope(project="default", domain="development"),
        name=app,
        **fields,
    )
    with grpc.insecure_channel(f"unix:{mesh.record['runtime_dir']}/api.sock") as channel:
        answer = scheduler_pb2_grpc.SchedulerServiceStub(channel).UpdateApp(request, timeout=10)
    return answer.app


def get(url: str) -> dict[str, str]:
    answer = httpx.get(url, trust_env=False)
    answer.raise_for_status()
    return dict(answer.json())


def test_instances_come_and_go_without_a_failed_call(shared_mesh: Mesh, tmp_path: Path) -> None:
    shared_mesh.cli("deploy", mirror(tmp_path, "scaled"))
    endpoint = shared_mesh.json("get", "app", "scaled")["endpoint"]
    first = pids(shared_mesh, "scaled")
    with (
        Load(endpoint, callers=2) as kept,
        Load(endpoint, callers=2, keep_alive=False) as fresh,
        Load(f"{endpoint}/slow", callers=3) as slow,
    ):
        change(shared_mesh, "scaled", scale=scheduler_pb2.ScaleApp(min_replicas=3))
        eventually(20, "three are ready", lambda: len(pids(shared_mesh, "scaled")) == 3)
        assert first < pids(shared_mesh, "scaled")
        eventually(
            10,
            "all three are called",
            lambda: len({text for _, text in fresh.answers[-30:]}) == 3,
        )
        change(shared_mesh, "scaled", scale=scheduler_pb2.ScaleApp(min_replicas=1))
        eventually(
            20,
            "one is left",
            lambda: len(shared_mesh.json("get", "app", "scaled")["instances"]) == 1,
        )
    assert not kept.misses + fresh.misses + slow.misses
    app = shared_mesh.json("get", "app", "scaled")
    assert (app["revision"], app["state"]) == (1, "ready")


SDK = """
import sys, callmesh as flyte, callmesh.remote as remote, httpx
flyte.init_from_config()
app = remote.App.get("resting")
before = app.endpoint
app.deactivate(wait=True)
assert app.is_deactivated() and not app.is_active(), app
answer = httpx.get(before, trust_env=False)
print(answer.status_code, answer.text.strip())
app.deactivate(wait=True)
with app.ephemeral_ctx_sync() as active:
    assert active.is_active() and active.endpoint == before, active
    print(httpx.get(before, trust_env=False).json()["version"])
assert app.is_deactivated(), app
app.activate(wait=True)
app.activate(wait=True)
print(httpx.get(before, trust_env=False).json()["version"], app.state, app.revision)
"""


def test_an_app_rests_and_comes_back_at_its_address(shared_mesh: Mesh, tmp_path: Path) -> None:
    shared_mesh.cli("deploy", mirror(tmp_path, "resting"))
    script = tmp_path / "rest.py"
    script.write_text(SDK)
    lines = shared_mesh.python(script).splitlines()
    assert lines[0].startswith("503 no instance of app `resting` is ready")
    assert lines[1:] == ["one", "one ready 1"]


def test_a_deploy_wakes_an_app_that_rests(shared_mesh: Mesh, tmp_path: Path) -> None:
    file = mirror(tmp_path, "asleep")
    shared_mesh.cli("deploy", file)
    change(shared_mesh, "asleep", desired_state=scheduler_pb2.DESIRED_STATE_INACTIVE)
    eventually(20, "it rests", lambda: not shared_mesh.json("get", "app", "asleep")["instances"])
    shared_mesh.cli("deploy", file)
    app = shared_mesh.json("get", "app", "asleep")
    assert (app["state"], app["revision"]) == ("ready", 1)
    assert get(app["endpoint"])["version"] == "one"


def test_a_visitor_stays_with_an_instance_for_as_long_as_it_lives(
    shared_mesh: Mesh, tmp_path: Path
) -> None:
    shared_mesh.cli("deploy", mirror(tmp_path, "loyal", replicas=2, affinity=True))
    app = shared_mesh.json("get", "app", "loyal")
    endpoint = app["endpoint"]
    strangers = {get(endpoint)["instance"] for _ in range(10)}
    assert len(strangers) == 2
    with httpx.Client(trust_env=False, base_url=endpoint) as visitor:
        met = visitor.get("/").json()["instance"]
        assert {visitor.get("/").json()["instance"] for _ in range(20)} == {met}
        pid = next(i["pid"] for i in app["instances"] if i["id"] == met)
        psutil.Process(pid).kill()
        after = visitor.get("/")
        assert after.status_code == 200
        again = after.json()["instance"]
        eventually(20, "both are back", lambda: len(pids(shared_mesh, "loyal")) == 2)
        assert len({visitor.get("/").json()["instance"] for _ in range(10)} | {again}) <= 2
