"""The commands against a gRPC server of the test's own; what they print is in tests/golden/cli.

`CALLMESH_REWRITE_GOLDEN=1` writes the golden files anew, to be read as a diff.
"""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import Future
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from callmesh.cli import main as program
from callmesh.cli import spans
from callmesh_wire import channel, errors, status
from callmesh_wire.methods import Method, methods
from callmeshpb.v1 import common_pb2, log_pb2, scheduler_pb2, secret_pb2
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

GOLDEN = Path(__file__).parents[2] / "golden" / "cli"
NOW = 1_800_000_000.0

Handler = Callable[[Any], "Message | Sequence[Message]"]


class FakeMesh:
    """A control plane whose answers are functions of the request, by method."""

    def __init__(self, socket_path: Path) -> None:
        self.target = f"unix:{socket_path}"
        self.handlers: dict[str, Handler] = {}
        self.requests: list[Message] = []
        self._loop = asyncio.new_event_loop()
        self._stopped = asyncio.Event()
        started: Future[None] = Future()
        self._thread = threading.Thread(target=self._main, args=(started,))
        self._thread.start()
        started.result(10)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join()

    def last(self, kind: type[Message]) -> Any:
        return next(each for each in reversed(self.requests) if isinstance(each, kind))

    def _main(self, started: Future[None]) -> None:
        self._loop.run_until_complete(self._serve(started))
        self._loop.close()

    async def _serve(self, started: Future[None]) -> None:
        server = channel.new_server()
        by_service: dict[str, dict[str, grpc.RpcMethodHandler]] = {}
        for name, method in methods().items():
            by_service.setdefault(method.service, {})[method.name] = self._handler(name, method)
        for service, table in by_service.items():
            server.add_generic_rpc_handlers(
                (grpc.method_handlers_generic_handler(f"callmeshpb.v1.{service}", table),)
            )
        server.add_insecure_port(self.target)
        await server.start()
        started.set_result(None)
        await self._stopped.wait()
        await server.stop(None)

    def _handler(self, name: str, method: Method) -> grpc.RpcMethodHandler:
        async def answer(request: Message, context: Any) -> Any:
            self.requests.append(request)
            handler = self.handlers.get(name)
            try:
                if handler is None:
                    raise errors.UnimplementedError(f"the test does not answer `{name}`")
                return handler(request)
            except errors.CallmeshError as problem:
                context.set_trailing_metadata(((status.DETAILS_KEY, status.details(problem)),))
                await context.abort(status.grpc_code(problem), problem.message)

        async def stream(request: Message, context: Any) -> AsyncIterator[Message]:
            for each in await answer(request, context):
                yield each

        make = (
            grpc.unary_stream_rpc_method_handler
            if method.server_streaming
            else grpc.unary_unary_rpc_method_handler
        )
        return make(
            stream if method.server_streaming else answer,
            request_deserializer=method.request.FromString,
            response_serializer=method.response.SerializeToString,
        )


def at(seconds_ago: float) -> Timestamp:
    moment = Timestamp()
    moment.FromNanoseconds(int((NOW - seconds_ago) * 1e9))
    return moment


def condition(kind: str, value: str, reason: str, message: str = "") -> common_pb2.Condition:
    return common_pb2.Condition(
        type=kind,
        status=common_pb2.ConditionStatus.Value(f"CONDITION_STATUS_{value}"),
        reason=reason,
        message=message,
        changed_at=at(60),
    )


def ready_app(name: str = "web", endpoint: str = "http://127.0.0.1:20001") -> scheduler_pb2.App:
    app = scheduler_pb2.App(
        revision=3,
        serving_revision=3,
        desired_state=scheduler_pb2.DESIRED_STATE_ACTIVE,
        state=scheduler_pb2.APP_STATE_READY,
        endpoint=endpoint,
        url=f"http://{name}.localhost:7480",
        created_at=at(7200),
        updated_at=at(300),
        conditions=[
            condition("Ready", "TRUE", "AllReady", "1 of 1 instances are ready"),
            condition("DependenciesReady", "TRUE", "AllReady"),
        ],
    )
    spec = app.spec
    spec.name, spec.project, spec.domain, spec.version = name, "default", "development", "v1"
    spec.kind = scheduler_pb2.APP_KIND_ASGI
    spec.code.module, spec.code.attribute = "shop.web", "env"
    spec.min_replicas = spec.max_replicas = 1
    spec.requires_auth = True
    spec.depends_on.append("stock")
    spec.description = "The shop's pages, for people who look for tea"
    app.instances.add(
        id=f"{name}-3-k2x9a",
        project="default",
        domain="development",
        app=name,
        revision=3,
        node="laptop",
        status=scheduler_pb2.InstanceStatus(
            state=scheduler_pb2.INSTANCE_STATE_READY, address="127.0.0.1", port=41231, pid=4242
        ),
    )
    return app


def failed_app() -> scheduler_pb2.App:
    app = ready_app()
    app.revision = 4
    app.state = scheduler_pb2.APP_STATE_FAILED
    del app.conditions[:]
    app.conditions.append(
        condition(
            "Ready",
            "FALSE",
            "StartFailed",
            "revision 4 of app `web` failed to start 3 times in a row; revision 3 goes on "
            "serving: mend it and deploy again, or go back with `callmesh rollback web`",
        )
    )
    app.instances.add(
        id="web-4-p0q1r",
        revision=4,
        node="laptop",
        status=scheduler_pb2.InstanceStatus(
            state=scheduler_pb2.INSTANCE_STATE_BACKOFF,
            restarts=3,
            message="it ended before it was ready",
            last_exit="exit code 1",
            log_tail=["Traceback (most recent call last):", "ZeroDivisionError: division by zero"],
        ),
    )
    return app


def finished_run(name: str = "r-abc", **changes: Any) -> scheduler_pb2.Run:
    run = scheduler_pb2.Run(
        name=name,
        project="default",
        domain="development",
        task="work.add",
        task_version="v1",
        phase=scheduler_pb2.RUN_PHASE_SUCCEEDED,
        trace_id="0af7651916cd43dd8448eb211c80319c",
        created_at=at(120),
        started_at=at(119.99),
        ended_at=at(119.5),
        outputs=[common_pb2.Value(json=b'{"sum": 3}')],
        inputs={"x": common_pb2.Value(json=b"1"), "y": common_pb2.Value(json=b"2")},
    )
    run.attempts.add(
        number=1,
        node="laptop",
        worker="w-1",
        phase=scheduler_pb2.ATTEMPT_PHASE_SUCCEEDED,
        created_at=at(120),
        started_at=at(119.99),
        ended_at=at(119.5),
    )
    for field, value in changes.items():
        setattr(run, field, value)
    return run


def failed_run() -> scheduler_pb2.Run:
    run = finished_run("r-bad", phase=scheduler_pb2.RUN_PHASE_FAILED, message="2 attempts failed")
    del run.outputs[:]
    run.error.type, run.error.message = "ValueError", "no tea"
    run.error.traceback = (
        'Traceback (most recent call last):\n  File "work.py", line 3, in add\n'
        "    raise ValueError('no tea')\nValueError: no tea\n"
    )
    run.attempts[0].phase = scheduler_pb2.ATTEMPT_PHASE_FAILED
    run.attempts[0].error.CopyFrom(run.error)
    second = run.attempts.add()
    second.CopyFrom(run.attempts[0])
    second.number = 2
    return run


def task() -> scheduler_pb2.Task:
    found = scheduler_pb2.Task(created_at=at(3600))
    environment = found.environment
    environment.name, environment.version = "work", "v1"
    environment.project, environment.domain = "default", "development"
    environment.code.module = "work"
    spec = found.spec
    spec.name, spec.function, spec.docs = "work.add", "add", "Add two numbers."
    spec.retries.count = 2
    spec.retries.base.FromSeconds(1)
    spec.retries.factor = 2
    spec.timeouts.max_runtime.FromSeconds(90)
    spec.interface.result_type = "dict[str, int]"
    spec.interface.parameters.add(name="x", type="int", schema='{"type":"integer"}', required=True)
    spec.interface.parameters.add(
        name="y",
        type="int",
        schema='{"type":"integer"}',
        default_value=common_pb2.Value(json=b"2"),
    )
    return found


def node() -> scheduler_pb2.Node:
    return scheduler_pb2.Node(
        name="laptop",
        connected=True,
        instances=2,
        attempts=1,
        version="0.1.0",
        joined_at=at(7200),
        capacity=scheduler_pb2.NodeCapacity(
            cpu=2, memory=8 << 30, slots=4, python_versions=["3.11"], shared_cpu=True
        ),
        conditions=[condition("Ready", "TRUE", "Connected")],
    )


@pytest.fixture
def mesh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeMesh]:
    fake = FakeMesh(tmp_path / "api.sock")
    monkeypatch.setenv("CALLMESH_ENDPOINT", fake.target)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(spans.time, "time", lambda: NOW)
    monkeypatch.delenv("CALLMESH_DEBUG", raising=False)
    fake.handlers["SchedulerService/ListNodes"] = lambda _: scheduler_pb2.ListNodesResponse(
        nodes=[node()]
    )
    fake.handlers["SchedulerService/GetApp"] = get_app
    fake.handlers["SchedulerService/GetRun"] = get_run
    fake.handlers["SchedulerService/GetTask"] = lambda _: scheduler_pb2.GetTaskResponse(
        task=task()
    )
    fake.handlers["SchedulerService/ListApps"] = lambda _: scheduler_pb2.ListAppsResponse(
        apps=[ready_app(), ready_app("stock")]
    )
    fake.handlers["SchedulerService/ListRuns"] = lambda request: scheduler_pb2.ListRunsResponse(
        runs=[] if request.parent == "r-abc" else [finished_run(), failed_run()]
    )
    fake.handlers["SchedulerService/ListTasks"] = lambda _: scheduler_pb2.ListTasksResponse(
        tasks=[task()]
    )
    yield fake
    fake.stop()


def get_app(request: scheduler_pb2.GetAppRequest) -> scheduler_pb2.GetAppResponse:
    if request.name == "broken":
        return scheduler_pb2.GetAppResponse(app=failed_app())
    if request.name not in ("web", "both"):
        raise errors.NotFoundError(
            f"there is no app `{request.name}` in project `default`, domain `development`"
        )
    return scheduler_pb2.GetAppResponse(app=ready_app())


def get_run(request: scheduler_pb2.GetRunRequest) -> scheduler_pb2.GetRunResponse:
    if request.name == "r-bad":
        return scheduler_pb2.GetRunResponse(run=failed_run())
    if request.name not in ("r-abc", "both"):
        raise errors.NotFoundError(f"there is no run `{request.name}`")
    return scheduler_pb2.GetRunResponse(run=finished_run())


Capture = pytest.CaptureFixture[str]


def golden(name: str, text: str) -> None:
    """Compare with a golden file; every line fits 80 columns, and none has colour."""
    path = GOLDEN / f"{name}.txt"
    if os.environ.get("CALLMESH_REWRITE_GOLDEN"):
        path.write_text(text)
    assert text == path.read_text()
    assert max(map(len, text.splitlines()), default=0) <= 80
    assert "\x1b" not in text


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
def test_reads_print_tables_and_stories(mesh: FakeMesh, capsys: Capture, line: str) -> None:
    del mesh
    assert program.run(line.split()) == 0
    said = capsys.readouterr()
    assert said.err == ""
    golden(line.replace(" ", "_"), said.out)


@pytest.mark.parametrize(
    "line",
    ["get app web", "get run r-abc", "get run r-bad", "get tasks", "get nodes", "describe app web"],
)
def test_reads_print_json(mesh: FakeMesh, capsys: Capture, line: str) -> None:
    del mesh
    assert program.run([*line.split(), "-o", "json"]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    text = json.dumps(json.loads(said.out), indent=2)
    path = GOLDEN / f"{line.replace(' ', '_')}.json"
    if os.environ.get("CALLMESH_REWRITE_GOLDEN"):
        path.write_text(f"{text}\n")
    assert f"{text}\n" == path.read_text()


def test_a_list_as_json_is_an_array_of_the_same_objects(mesh: FakeMesh, capsys: Capture) -> None:
    del mesh
    program.run("get app web -o json".split())
    one = json.loads(capsys.readouterr().out)
    program.run("get apps -o json".split())
    assert json.loads(capsys.readouterr().out)[0] == one
    program.run("get run r-abc -o json".split())
    one = json.loads(capsys.readouterr().out)
    assert one["outputs"] == {"sum": 3}
    program.run("get runs -o json".split())
    assert json.loads(capsys.readouterr().out)[0] == one


def test_empty_lists_are_an_empty_array_or_a_remark(mesh: FakeMesh, capsys: Capture) -> None:
    mesh.handlers["SchedulerService/ListApps"] = lambda _: scheduler_pb2.ListAppsResponse()
    assert program.run(["get", "apps"]) == 0
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "no apps\n")
    assert program.run(["get", "apps", "-o", "json"]) == 0
    assert capsys.readouterr().out == "[]\n"


def test_pages_are_followed(mesh: FakeMesh, capsys: Capture) -> None:
    def pages(request: scheduler_pb2.ListAppsRequest) -> scheduler_pb2.ListAppsResponse:
        if not request.page_token:
            return scheduler_pb2.ListAppsResponse(apps=[ready_app("a")], next_page_token="2")
        return scheduler_pb2.ListAppsResponse(apps=[ready_app("b")])

    mesh.handlers["SchedulerService/ListApps"] = pages
    program.run(["get", "apps", "-o", "json"])
    assert [each["name"] for each in json.loads(capsys.readouterr().out)] == ["a", "b"]


def test_scope_comes_from_the_options(mesh: FakeMesh, capsys: Capture) -> None:
    assert program.run("get app web --project shop --domain production".split()) == 0
    scope = mesh.last(scheduler_pb2.GetAppRequest).scope
    assert (scope.project, scope.domain) == ("shop", "production")
    assert program.run("get app web --project No/pe".split()) == 2
    assert "project `No/pe` must be" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("get app gone", 1, "there is no app `gone`"),
        ("get run gone", 1, "there is no run `gone`"),
        ("get node gone", 1, "there is no node `gone`"),
        ("describe gone", 1, "there is no app and no run `gone`"),
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
def test_errors_are_sentences_with_an_exit_code(
    mesh: FakeMesh, capsys: Capture, line: str, code: int, said: str
) -> None:
    del mesh
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


def test_status_tells_of_the_mesh_and_its_nodes(mesh: FakeMesh, capsys: Capture) -> None:
    mesh.handlers["SchedulerService/GetServer"] = lambda _: scheduler_pb2.GetServerResponse(
        version="0.1.0",
        protocol_version=1,
        state_dir="/var/lib/callmesh/default",
        ingress_url="http://localhost:7480",
        started_at=at(3700),
        pid=99,
    )
    assert program.run(["status"]) == 0
    golden("status", capsys.readouterr().out.replace(mesh.target, "unix:/run/api.sock"))
    assert program.run(["status", "-o", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["pid"] == 99
    assert found["nodes"][0]["name"] == "laptop"


def test_logs_name_the_source_where_there_are_several(mesh: FakeMesh, capsys: Capture) -> None:
    def tail(request: log_pb2.TailLogsRequest) -> list[log_pb2.TailLogsResponse]:
        lines = [log_pb2.LogLine(source="web-3-k2x9a", text="one")]
        if request.WhichOneof("target") == "run":
            lines = [
                log_pb2.LogLine(source="attempt 1", text="first"),
                log_pb2.LogLine(source="attempt 2", text="second"),
            ]
        return [log_pb2.TailLogsResponse(lines=lines)]

    mesh.handlers["LogService/TailLogs"] = tail
    assert program.run("logs web -n 5".split()) == 0
    assert capsys.readouterr().out == "one\n"
    request = mesh.last(log_pb2.TailLogsRequest)
    assert (request.app, request.tail_lines, request.follow) == ("web", 5, False)
    assert program.run("logs -f run/r-bad".split()) == 0
    assert capsys.readouterr().out == "attempt 1 | first\nattempt 2 | second\n"
    assert mesh.last(log_pb2.TailLogsRequest).follow


def test_secrets_come_from_standard_input_and_are_never_shown(
    mesh: FakeMesh, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    import io
    import sys

    mesh.handlers["SecretService/CreateSecret"] = lambda _: secret_pb2.CreateSecretResponse()
    mesh.handlers["SecretService/DeleteSecret"] = lambda _: secret_pb2.DeleteSecretResponse()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"hush\n")))
    assert program.run("create secret api-key".split()) == 0
    assert mesh.last(secret_pb2.CreateSecretRequest).value == b"hush"
    assert program.run("create secret api-key --value loud".split()) == 0
    assert mesh.last(secret_pb2.CreateSecretRequest).value == b"loud"
    assert program.run("delete secret api-key".split()) == 0
    assert mesh.last(secret_pb2.DeleteSecretRequest).name == "api-key"
    said = capsys.readouterr()
    assert said.out == ""
    assert "hush" not in said.err
    assert "loud" not in said.err


def test_abort_says_what_became_of_the_run(mesh: FakeMesh, capsys: Capture) -> None:
    mesh.handlers["SchedulerService/AbortRun"] = lambda _: scheduler_pb2.AbortRunResponse()
    assert program.run("abort r-abc --reason enough".split()) == 0
    assert mesh.last(scheduler_pb2.AbortRunRequest).reason == "enough"
    assert "run `r-abc` is aborted" in capsys.readouterr().err


def test_delete_waits_until_the_app_is_gone(mesh: FakeMesh, capsys: Capture) -> None:
    deleting = ready_app()
    deleting.deleting = True
    mesh.handlers["SchedulerService/DeleteApp"] = lambda _: scheduler_pb2.DeleteAppResponse()
    mesh.handlers["SchedulerService/WatchApp"] = lambda _: [
        scheduler_pb2.WatchAppResponse(app=deleting),
        scheduler_pb2.WatchAppResponse(app=deleting, deleted=True),
    ]
    assert program.run("delete app web".split()) == 0
    assert capsys.readouterr().err == "app `web` is deleted\n"


def test_rollback_waits_for_the_new_revision(mesh: FakeMesh, capsys: Capture) -> None:
    going = ready_app()
    going.revision, going.state = 4, scheduler_pb2.APP_STATE_DEPLOYING
    there = ready_app()
    there.revision = there.serving_revision = 4
    mesh.handlers["SchedulerService/UpdateApp"] = lambda _: scheduler_pb2.UpdateAppResponse(
        app=going
    )
    mesh.handlers["SchedulerService/WatchApp"] = lambda _: [
        scheduler_pb2.WatchAppResponse(app=going),
        scheduler_pb2.WatchAppResponse(app=there),
    ]
    assert program.run("rollback web --to 2".split()) == 0
    assert mesh.last(scheduler_pb2.UpdateAppRequest).rollback_to == 2
    said = capsys.readouterr().err
    assert said == "app web: deploying\napp web: ready\napp `web` serves revision 4\n"


def test_a_revision_that_cannot_start_ends_the_wait(mesh: FakeMesh, capsys: Capture) -> None:
    broken = failed_app()
    mesh.handlers["SchedulerService/UpdateApp"] = lambda _: scheduler_pb2.UpdateAppResponse(
        app=broken
    )
    mesh.handlers["SchedulerService/WatchApp"] = lambda _: [
        scheduler_pb2.WatchAppResponse(app=broken)
    ]
    assert program.run("rollback web".split()) == 1
    golden("rollback_failed", capsys.readouterr().err)


class Echo(BaseHTTPRequestHandler):
    """Answers with what it was sent."""

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        said = {
            "method": self.command,
            "path": self.path,
            "body": body.decode(),
            "type": self.headers.get("Content-Type"),
            "team": self.headers.get("X-Team"),
        }
        self.send_response(404 if self.path == "/missing" else 200)
        self.end_headers()
        self.wfile.write(json.dumps(said).encode())

    do_POST = do_PUT = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def echo(mesh: FakeMesh) -> Iterator[HTTPServer]:
    server = HTTPServer(("127.0.0.1", 0), Echo)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    mesh.handlers["SchedulerService/GetApp"] = lambda _: scheduler_pb2.GetAppResponse(
        app=ready_app(endpoint=f"http://127.0.0.1:{server.server_port}")
    )
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.usefixtures("echo")
def test_call_prints_the_body_alone(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert program.run(["call", "web", "hello?x=1"]) == 0
    said = capfdbinary.readouterr()
    assert json.loads(said.out)["path"] == "/hello?x=1"
    assert said.err == b""
    line = ["call", "web", "/items", "-d", '{"a": 1}', "-H", "X-Team: kettle"]
    assert program.run(line) == 0
    assert json.loads(capfdbinary.readouterr().out) == {
        "method": "POST",
        "path": "/items",
        "body": '{"a": 1}',
        "type": "application/json",
        "team": "kettle",
    }
    assert program.run(["call", "web", "/", "-X", "put", "-d", "x", "-H", "content-type:a/b"]) == 0
    found = json.loads(capfdbinary.readouterr().out)
    assert (found["method"], found["type"]) == ("PUT", "a/b")


@pytest.mark.usefixtures("echo")
def test_call_fails_where_the_answer_is_not_2xx(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert program.run(["call", "web", "/missing"]) == 1
    said = capfdbinary.readouterr()
    assert json.loads(said.out)["path"] == "/missing"
    assert said.err == b"error: `web` answered 404 Not Found to GET /missing\n"


def test_an_app_that_is_not_there_is_told(mesh: FakeMesh, capsys: Capture) -> None:
    mesh.handlers["SchedulerService/GetApp"] = lambda _: scheduler_pb2.GetAppResponse(
        app=ready_app(endpoint="http://127.0.0.1:1")
    )
    assert program.run(["call", "web", "/"]) == 1
    said = capsys.readouterr().err
    assert "`web` cannot be reached at http://127.0.0.1:1" in said
    assert "hint: `callmesh describe app web`" in said


@pytest.mark.parametrize("line", ["", *program.COMMANDS, "get apps", "create secret"])
def test_the_help_teaches(capsys: Capture, line: str) -> None:
    assert program.run([*line.split(), "--help"]) == 0
    golden(f"help_{line.replace(' ', '_') or 'callmesh'}", capsys.readouterr().out)
