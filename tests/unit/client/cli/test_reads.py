"""What reads print: tables, stories, JSON, and what is wrong with a question."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from callmesh.cli import main as program
from callmeshpb.v1 import scheduler_pb2

Capture = pytest.CaptureFixture[str]
Golden = Callable[[str, str], None]


@pytest.mark.parametrize(
    "line",
    [
        "get apps",
        "get app web",
        "get runs",
        "get run r-abc",
        "get tasks",
        "get nodes",
        "describe app web",
        "describe app broken",
        "describe run r-abc",
        "describe run r-bad",
        "describe task add",
        "describe node laptop",
    ],
)
@pytest.mark.usefixtures("mesh")
def test_reads_print_tables_and_stories(capsys: Capture, golden: Golden, line: str) -> None:
    assert program.run(line.split()) == 0
    said = capsys.readouterr()
    assert said.err == ""
    golden(f"{line.replace(' ', '_')}.txt", said.out)


@pytest.mark.parametrize(
    "line",
    ["get app web", "get run r-abc", "get run r-bad", "get tasks", "get nodes", "describe app web"],
)
@pytest.mark.usefixtures("mesh")
def test_reads_print_json(capsys: Capture, golden: Golden, line: str) -> None:
    assert program.run([*line.split(), "-o", "json"]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    json.loads(said.out)
    golden(f"{line.replace(' ', '_')}.json", said.out)


@pytest.mark.usefixtures("mesh")
def test_a_list_as_json_is_an_array_of_the_same_objects(capsys: Capture) -> None:
    program.run(["get", "app", "web", "-o", "json"])
    one = json.loads(capsys.readouterr().out)
    program.run(["get", "apps", "-o", "json"])
    assert json.loads(capsys.readouterr().out)[0] == one
    program.run(["get", "run", "r-abc", "-o", "json"])
    one = json.loads(capsys.readouterr().out)
    assert one["outputs"] == {"sum": 3}
    program.run(["get", "runs", "-o", "json"])
    assert json.loads(capsys.readouterr().out)[0] == one


def test_empty_lists_are_an_empty_array_or_a_remark(mesh: Any, capsys: Capture) -> None:
    mesh.handlers["SchedulerService/ListApps"] = lambda _: scheduler_pb2.ListAppsResponse()
    assert program.run(["get", "apps"]) == 0
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "no apps\n")
    assert program.run(["get", "apps", "-o", "json"]) == 0
    assert capsys.readouterr().out == "[]\n"


def test_pages_are_followed(mesh: Any, capsys: Capture) -> None:
    def pages(request: scheduler_pb2.ListAppsRequest) -> scheduler_pb2.ListAppsResponse:
        if not request.page_token:
            return scheduler_pb2.ListAppsResponse(apps=[mesh.ready_app("a")], next_page_token="2")
        return scheduler_pb2.ListAppsResponse(apps=[mesh.ready_app("b")])

    mesh.handlers["SchedulerService/ListApps"] = pages
    program.run(["get", "apps", "-o", "json"])
    assert [each["name"] for each in json.loads(capsys.readouterr().out)] == ["a", "b"]


def test_scope_comes_from_the_options(mesh: Any, capsys: Capture) -> None:
    assert program.run(["get", "app", "web", "--project", "shop", "--domain", "production"]) == 0
    scope = mesh.last(scheduler_pb2.GetAppRequest).scope
    assert (scope.project, scope.domain) == ("shop", "production")
    assert program.run(["get", "app", "web", "--project", "No/pe"]) == 2
    assert "project `No/pe` must be" in capsys.readouterr().err


@pytest.mark.usefixtures("mesh")
def test_describe_finds_a_task_by_its_name_alone(capsys: Capture) -> None:
    assert program.run(["describe", "add"]) == 0
    assert capsys.readouterr().out.startswith("task      work.add\n")


def test_an_instance_that_is_being_replaced_is_no_ready_replica(mesh: Any, capsys: Capture) -> None:
    app = mesh.ready_app()
    old = app.instances.add(revision=2, intent=scheduler_pb2.INSTANCE_INTENT_DRAIN)
    old.status.state = scheduler_pb2.INSTANCE_STATE_READY
    mesh.handlers["SchedulerService/GetApp"] = lambda _: scheduler_pb2.GetAppResponse(app=app)
    assert program.run(["get", "app", "web", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["replicas"] == {"wanted": 1, "ready": 1}


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("get app gone", 1, "there is no app `gone`"),
        ("get run gone", 1, "there is no run `gone`"),
        ("get node gone", 1, "there is no node `gone`"),
        ("describe gone", 1, "there is no app, no run and no task `gone`"),
        ("describe both", 2, "`both` is an app and a run"),
        ("describe thing web", 2, "`thing` cannot be described"),
        ("logs web/1", 2, "must be `app/NAME` or `run/NAME`"),
        ("get runs --phase lost", 2, "`lost` is not a phase"),
        ("get", 2, "Usage: callmesh get"),
        ("gte apps", 2, "there is no command `gte`"),
        ("get apps --nope", 2, "no such option"),
        ("call web / -H nope", 2, "header `nope` must be"),
        ("deploy nowhere.py", 2, "`nowhere.py` does not exist"),
        ("create secret bad$ --value x", 2, "secret name"),
    ],
)
@pytest.mark.usefixtures("mesh")
def test_errors_are_sentences_with_an_exit_code(
    capsys: Capture, line: str, code: int, said: str
) -> None:
    assert program.run(line.split()) == code
    found = capsys.readouterr()
    assert said in found.err
    assert "Traceback" not in found.err
    assert found.out == ""


def test_an_absent_control_plane_is_exit_code_3(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.delenv("CALLMESH_ENDPOINT", raising=False)
    assert program.run(["status"]) == 3
    assert "callmesh up" in capsys.readouterr().err
    monkeypatch.setenv("CALLMESH_ENDPOINT", f"unix:{tmp_path}/none.sock")
    assert program.run(["get", "apps"]) == 3
    said = " ".join(capsys.readouterr().err.split())
    assert said.startswith("error: the control plane at unix:")
    assert "`callmesh up`" in said


def test_status_tells_of_the_mesh_and_its_nodes(mesh: Any, capsys: Capture, golden: Golden) -> None:
    mesh.handlers["SchedulerService/GetServer"] = lambda _: scheduler_pb2.GetServerResponse(
        version="0.1.0",
        protocol_version=1,
        state_dir="/var/lib/callmesh/default",
        ingress_url="http://localhost:7480",
        started_at=mesh.at(3700),
        pid=99,
    )
    assert program.run(["status"]) == 0
    golden("status.txt", capsys.readouterr().out.replace(mesh.target, "unix:/run/api.sock"))
    assert program.run(["status", "-o", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["pid"] == 99
    assert found["nodes"][0]["name"] == "laptop"
