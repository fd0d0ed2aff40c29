"""Commands that change something, and logs."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from typing import Any

import pytest

from callmesh.cli import main as program
from callmeshpb.v1 import log_pb2, scheduler_pb2, secret_pb2

Capture = pytest.CaptureFixture[str]
Golden = Callable[[str, str], None]


def test_logs_name_the_source_where_there_are_several(mesh: Any, capsys: Capture) -> None:
    def tail(request: log_pb2.TailLogsRequest) -> list[log_pb2.TailLogsResponse]:
        lines = [log_pb2.LogLine(source="web-3-k2x9a", text="one")]
        if request.WhichOneof("target") == "run":
            lines = [
                log_pb2.LogLine(source="attempt 1", text="first"),
                log_pb2.LogLine(source="attempt 2", text="second"),
            ]
        return [log_pb2.TailLogsResponse(lines=lines)]

    mesh.handlers["LogService/TailLogs"] = tail
    assert program.run(["logs", "web", "-n", "5"]) == 0
    assert capsys.readouterr().out == "one\n"
    request = mesh.last(log_pb2.TailLogsRequest)
    assert (request.app, request.tail_lines, request.follow) == ("web", 5, False)
    assert program.run(["logs", "-f", "run/r-bad"]) == 0
    assert capsys.readouterr().out == "attempt 1 | first\nattempt 2 | second\n"
    assert mesh.last(log_pb2.TailLogsRequest).follow


def test_secrets_come_from_standard_input_and_are_never_shown(
    mesh: Any, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    mesh.handlers["SecretService/CreateSecret"] = lambda _: secret_pb2.CreateSecretResponse()
    mesh.handlers["SecretService/DeleteSecret"] = lambda _: secret_pb2.DeleteSecretResponse()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"hush\n")))
    assert program.run(["create", "secret", "api-key"]) == 0
    assert mesh.last(secret_pb2.CreateSecretRequest).value == b"hush"
    assert program.run(["create", "secret", "api-key", "--value", "loud"]) == 0
    assert mesh.last(secret_pb2.CreateSecretRequest).value == b"loud"
    assert program.run(["delete", "secret", "api-key"]) == 0
    assert mesh.last(secret_pb2.DeleteSecretRequest).name == "api-key"
    said = capsys.readouterr()
    assert said.out == ""
    assert "hush" not in said.err
    assert "loud" not in said.err


def test_abort_says_what_became_of_the_run(mesh: Any, capsys: Capture) -> None:
    mesh.handlers["SchedulerService/AbortRun"] = lambda _: scheduler_pb2.AbortRunResponse()
    assert program.run(["abort", "r-abc", "--reason", "enough"]) == 0
    assert mesh.last(scheduler_pb2.AbortRunRequest).reason == "enough"
    assert "run `r-abc` is aborted" in capsys.readouterr().err


def test_delete_waits_until_the_app_is_gone(mesh: Any, capsys: Capture) -> None:
    deleting = mesh.ready_app()
    deleting.deleting = True
    mesh.handlers["SchedulerService/DeleteApp"] = lambda _: scheduler_pb2.DeleteAppResponse()
    mesh.handlers["SchedulerService/WatchApp"] = lambda _: [
        scheduler_pb2.WatchAppResponse(app=deleting),
        scheduler_pb2.WatchAppResponse(app=deleting, deleted=True),
    ]
    assert program.run(["delete", "app", "web"]) == 0
    assert capsys.readouterr().err == "app `web` is deleted\n"


def test_rollback_waits_for_the_new_revision(mesh: Any, capsys: Capture) -> None:
    going = mesh.ready_app()
    going.revision, going.state = 4, scheduler_pb2.APP_STATE_DEPLOYING
    there = mesh.ready_app()
    there.revision = there.serving_revision = 4
    mesh.handlers["SchedulerService/UpdateApp"] = lambda _: scheduler_pb2.UpdateAppResponse(
        app=going
    )
    mesh.handlers["SchedulerService/WatchApp"] = lambda _: [
        scheduler_pb2.WatchAppResponse(app=going),
        scheduler_pb2.WatchAppResponse(app=there),
    ]
    assert program.run(["rollback", "web", "--to", "2"]) == 0
    assert mesh.last(scheduler_pb2.UpdateAppRequest).rollback_to == 2
    said = capsys.readouterr().err
    assert said.startswith(
        "app `web` goes back, as revision 4\napp web: deploying\n`web` is ready ("
    )


def test_a_revision_that_cannot_start_ends_the_wait(
    mesh: Any, capsys: Capture, golden: Golden
) -> None:
    broken = mesh.failed_app()
    mesh.handlers["SchedulerService/UpdateApp"] = lambda _: scheduler_pb2.UpdateAppResponse(
        app=broken
    )
    mesh.handlers["SchedulerService/WatchApp"] = lambda _: [
        scheduler_pb2.WatchAppResponse(app=broken)
    ]
    assert program.run(["rollback", "web"]) == 1
    golden("rollback_failed.txt", capsys.readouterr().err)
