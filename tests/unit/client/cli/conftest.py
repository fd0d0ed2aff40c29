"""A control plane that a test answers for, and what it answers by default."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from callmesh import _notices, settings
from callmesh.cli import spans
from callmesh_wire import channel, errors, status
from callmesh_wire.methods import Method, methods
from callmeshpb.v1 import blob_pb2, common_pb2, scheduler_pb2

GOLDEN = Path(__file__).parents[3] / "golden" / "cli"
NOW = 1_800_000_000.0

Handler = Callable[[Any], "Message | Sequence[Message]"]


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
        intent=scheduler_pb2.INSTANCE_INTENT_RUN,
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


class FakeMesh:
    """A control plane whose answers are functions of the request, by method."""

    ready_app = staticmethod(ready_app)
    failed_app = staticmethod(failed_app)
    finished_run = staticmethod(finished_run)
    failed_run = staticmethod(failed_run)
    task = staticmethod(task)
    node = staticmethod(node)
    at = staticmethod(at)

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
        async def answer(request: Any, context: Any) -> Any:
            if method.client_streaming:
                request = [each async for each in request]
            self.requests += request if isinstance(request, list) else [request]
            handler = self.handlers.get(name)
            try:
                if handler is None:
                    raise errors.UnimplementedError(f"the test does not answer `{name}`")
                return handler(request)
            except errors.CallmeshError as problem:
                context.set_trailing_metadata(((status.DETAILS_KEY, status.details(problem)),))
                await context.abort(status.grpc_code(problem), problem.message)

        async def stream(request: Any, context: Any) -> AsyncIterator[Message]:
            for each in await answer(request, context):
                yield each

        make = {
            (False, False): grpc.unary_unary_rpc_method_handler,
            (False, True): grpc.unary_stream_rpc_method_handler,
            (True, False): grpc.stream_unary_rpc_method_handler,
            (True, True): grpc.stream_stream_rpc_method_handler,
        }[method.client_streaming, method.server_streaming]
        return make(
            stream if method.server_streaming else answer,
            request_deserializer=method.request.FromString,
            response_serializer=method.response.SerializeToString,
        )


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


def get_task(request: scheduler_pb2.GetTaskRequest) -> scheduler_pb2.GetTaskResponse:
    if request.task.name not in ("add", "work.add"):
        raise errors.NotFoundError(f"there is no task `{request.task.name}`")
    return scheduler_pb2.GetTaskResponse(task=task())


def list_runs(request: scheduler_pb2.ListRunsRequest) -> scheduler_pb2.ListRunsResponse:
    runs = [] if request.parent == "r-abc" else [finished_run(), failed_run()]
    return scheduler_pb2.ListRunsResponse(runs=runs)


DEFAULTS: dict[str, Handler] = {
    "BlobService/FindMissing": lambda _: blob_pb2.FindMissingResponse(),
    "SchedulerService/GetApp": get_app,
    "SchedulerService/GetRun": get_run,
    "SchedulerService/GetTask": get_task,
    "SchedulerService/ListApps": lambda _: scheduler_pb2.ListAppsResponse(
        apps=[ready_app(), ready_app("stock")]
    ),
    "SchedulerService/ListNodes": lambda _: scheduler_pb2.ListNodesResponse(nodes=[node()]),
    "SchedulerService/ListRuns": list_runs,
    "SchedulerService/ListTasks": lambda _: scheduler_pb2.ListTasksResponse(tasks=[task()]),
}


@pytest.fixture
def mesh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeMesh]:
    """A control plane that the commands find, on a clock that stands still."""
    fake = FakeMesh(tmp_path / "api.sock")
    fake.handlers.update(DEFAULTS)
    monkeypatch.setenv("CALLMESH_ENDPOINT", fake.target)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("CALLMESH_DEBUG", raising=False)
    monkeypatch.setattr(spans.time, "time", lambda: NOW)
    # What a command settles for its process must not outlive the test.
    monkeypatch.setattr(settings, "_current", None)
    monkeypatch.setattr(_notices, "_sink", _notices._sink)
    monkeypatch.setattr(_notices, "_said", set())
    yield fake
    fake.stop()


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Compare with a file in tests/golden/cli: at most 80 columns, and no colour."""

    def compare(name: str, text: str) -> None:
        path = GOLDEN / name
        if request.config.getoption("--update-golden"):
            path.write_text(text)
        assert text == path.read_text()
        assert "\x1b" not in text
        if name.endswith(".txt"):
            assert max(map(len, text.splitlines()), default=0) <= 80

    return compare
