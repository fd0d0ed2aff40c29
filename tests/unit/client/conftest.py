"""A control plane for the SDK's tests: real gRPC, and runs that are functions of the test's."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest

from callmesh import settings
from callmesh._places import Place
from callmesh_wire import errors, status
from callmesh_wire.methods import methods
from callmeshpb.v1 import blob_pb2, common_pb2, scheduler_pb2

Outcome = Callable[[scheduler_pb2.Submission], scheduler_pb2.Run]


class FakeMesh:
    """Keeps what it is told, across `stop` and `start`.

    ``outcome`` decides how a run ends; a run ends while ``open`` is set. What
    breaks the contract of the services is kept in ``violations``.
    """

    def __init__(self, path: Path) -> None:
        self.target = f"unix:{path}"
        self.deploys: list[scheduler_pb2.DeployRequest] = []
        self.tasks: dict[str, scheduler_pb2.Task] = {}
        self.apps: dict[str, list[scheduler_pb2.App]] = {}
        self.blobs: dict[str, bytes] = {}
        self.submissions: dict[str, scheduler_pb2.Submission] = {}
        self.runs: dict[str, scheduler_pb2.Run] = {}
        self.aborted: list[str] = []
        self.calls: list[str] = []
        self.violations: list[str] = []
        self.outcome: Outcome = lambda _: scheduler_pb2.Run(
            phase=scheduler_pb2.RUN_PHASE_SUCCEEDED, outputs=[common_pb2.Value(json=b"1")]
        )
        self.open = threading.Event()
        self.open.set()
        self._server: Any = None
        self.start()

    def start(self) -> None:
        """Listen on the socket, again."""
        self._server = grpc.server(ThreadPoolExecutor(32))
        self._server.add_generic_rpc_handlers((_Handlers(self),))
        self._server.add_insecure_port(self.target)
        self._server.start()

    def stop(self) -> None:
        """Be away."""
        self._server.stop(0).wait()

    def deploy(self, request: scheduler_pb2.DeployRequest) -> scheduler_pb2.DeployResponse:
        self.deploys.append(request)
        answer = scheduler_pb2.DeployResponse()
        for environment in request.task_environments:
            for spec in environment.tasks:
                task = scheduler_pb2.Task(environment=environment, spec=spec)
                self.tasks[spec.name] = task
                answer.tasks.append(task)
        for spec in request.apps:
            app = scheduler_pb2.App(spec=spec, revision=1, url=f"http://{spec.name}.localhost/")
            app.endpoint = "http://127.0.0.1:20001"
            self.apps.setdefault(spec.name, [app])
            answer.apps.append(app)
        return answer

    def get_task(self, request: scheduler_pb2.GetTaskRequest) -> scheduler_pb2.GetTaskResponse:
        for name, task in self.tasks.items():
            if request.task.name in (name, name.rpartition(".")[2]):
                return scheduler_pb2.GetTaskResponse(task=task)
        raise errors.NotFoundError("no such task")

    def get_app(self, request: scheduler_pb2.GetAppRequest) -> scheduler_pb2.GetAppResponse:
        if request.name not in self.apps:
            raise errors.NotFoundError("no such app")
        return scheduler_pb2.GetAppResponse(app=self.apps[request.name][-1])

    def watch_app(self, request: scheduler_pb2.WatchAppRequest) -> Iterator[Any]:
        for state in self.apps[request.name]:
            yield scheduler_pb2.WatchAppResponse(app=state)
        self.open.clear()
        self.open.wait(5)

    def submit(self, requests: Iterator[scheduler_pb2.SubmitRequest]) -> Iterator[Any]:
        for request in requests:
            for submission in request.submissions:
                yield from self._answers(submission)

    def get_run(self, request: scheduler_pb2.GetRunRequest) -> scheduler_pb2.GetRunResponse:
        if request.name not in self.runs:
            raise errors.NotFoundError("no such run")
        return scheduler_pb2.GetRunResponse(run=self.runs[request.name])

    def watch_run(self, request: scheduler_pb2.WatchRunRequest) -> Iterator[Any]:
        yield scheduler_pb2.WatchRunResponse(run=self.runs[request.name])

    def abort_run(self, request: scheduler_pb2.AbortRunRequest) -> scheduler_pb2.AbortRunResponse:
        self.aborted.append(request.name)
        run = self.runs[request.name]
        run.phase = scheduler_pb2.RUN_PHASE_ABORTED
        return scheduler_pb2.AbortRunResponse(run=run)

    def list_runs(self, request: scheduler_pb2.ListRunsRequest) -> scheduler_pb2.ListRunsResponse:
        found = [r for r in self.runs.values() if not request.phases or r.phase in request.phases]
        start = int(request.page_token or 0)
        page = found[start : start + request.page_size]
        more = str(start + request.page_size) if start + request.page_size < len(found) else ""
        return scheduler_pb2.ListRunsResponse(runs=page, next_page_token=more)

    def find_missing(self, request: blob_pb2.FindMissingRequest) -> blob_pb2.FindMissingResponse:
        return blob_pb2.FindMissingResponse(
            digests=[each for each in request.digests if each not in self.blobs]
        )

    def upload(self, requests: Iterator[blob_pb2.UploadRequest]) -> blob_pb2.UploadResponse:
        first = next(requests)
        self.blobs[first.digest] = first.data + b"".join(each.data for each in requests)
        return blob_pb2.UploadResponse(size=first.size)

    def download(self, request: blob_pb2.DownloadRequest) -> Iterator[blob_pb2.DownloadResponse]:
        yield blob_pb2.DownloadResponse(data=self.blobs[request.digest])

    def _answers(self, submission: scheduler_pb2.Submission) -> Iterator[Any]:
        known = self.submissions.setdefault(submission.request_id, submission)
        if not submission.request_id or known != submission:
            self.violations.append(f"request_id {submission.request_id!r} for something else")
        name = submission.run_name or f"run-{len(self.runs) + 1}"
        if submission.task.name not in self.tasks:
            refused = scheduler_pb2.SubmitError(code=5, message="no such task")
            yield _update(submission, error=refused)
            return
        run = next((r for r in self.runs.values() if r.etag == id(known)), None)
        if run is None:
            run = self.runs[name] = scheduler_pb2.Run(
                name=name, task=submission.task.name, parent=submission.parent, etag=id(known)
            )
            run.phase = scheduler_pb2.RUN_PHASE_QUEUED
        yield _update(submission, run=run)
        if not self.open.wait(5) or run.phase != scheduler_pb2.RUN_PHASE_QUEUED:
            return
        run.MergeFrom(self.outcome(submission))
        yield _update(submission, run=run)


def _update(submission: scheduler_pb2.Submission, **parts: Any) -> scheduler_pb2.SubmitResponse:
    update = scheduler_pb2.RunUpdate(request_id=submission.request_id, **parts)
    return scheduler_pb2.SubmitResponse(updates=[update])


class _Handlers(grpc.GenericRpcHandler):
    """The methods that `FakeMesh` has, by their handler's names."""

    def __init__(self, mesh: FakeMesh) -> None:
        self._mesh = mesh

    def service(self, details: Any) -> Any:
        name = details.method.removeprefix("/callmeshpb.v1.")
        method = methods()[name]
        handler = getattr(self._mesh, method.handler, None)
        if handler is None:
            return None
        self._mesh.calls.append(name)

        def unary(request: Any, context: Any) -> Any:
            try:
                return handler(request)
            except errors.CallmeshError as problem:
                context.set_trailing_metadata(((status.DETAILS_KEY, status.details(problem)),))
                context.abort(status.grpc_code(problem), problem.message)

        def stream(request: Any, _context: Any) -> Any:
            yield from handler(request)

        kind = {
            (False, False): grpc.unary_unary_rpc_method_handler,
            (False, True): grpc.unary_stream_rpc_method_handler,
            (True, False): grpc.stream_unary_rpc_method_handler,
            (True, True): grpc.stream_stream_rpc_method_handler,
        }[method.client_streaming, method.server_streaming]
        return kind(
            stream if method.server_streaming else unary,
            request_deserializer=method.request.FromString,
            response_serializer=method.response.SerializeToString,
        )


@pytest.fixture(autouse=True)
def no_mesh_of_the_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No test finds a mesh, or settings, that it did not make."""
    for name in ("CALLMESH_ENDPOINT", "CALLMESH_TOKEN_FILE", "CALLMESH_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CALLMESH_STATE_DIR", str(tmp_path / "no-state"))
    before = settings._current
    yield
    settings._current = before


@pytest.fixture
def mesh(tmp_path: Path) -> Iterator[FakeMesh]:
    """A mesh that this process is set up to use."""
    made = FakeMesh(tmp_path / "api.sock")
    settings.use(settings.Settings(mode=settings.REMOTE, place=Place(made.target, "", "a test")))
    yield made
    made.open.set()
    made.stop()
    assert not made.violations
