"""The mesh as the commands see it: one question, one answer, or a watch.

Everything here blocks; the calls themselves run on the SDK's one event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar, cast

from google.protobuf.message import Message

from callmesh import _transport, settings
from callmesh._sync import bridge, iterate
from callmesh.cli import output
from callmesh.cli.progress import Progress, reconnecting
from callmesh.cli.watching import following, stream, watching
from callmesh_wire import errors, names
from callmeshpb.v1 import common_pb2, log_pb2, scheduler_pb2, secret_pb2

if TYPE_CHECKING:
    from callmesh.cli.options import Where

TIMEOUT = 30.0
PAGE = 500

Answer = TypeVar("Answer", bound=Message)


class Mesh:
    """One mesh, one project and domain in it. Errors are `callmesh_wire.errors`."""

    def __init__(self, found: settings.Settings) -> None:
        self.settings = found
        self.scope = common_pb2.Scope(project=found.project, domain=found.domain)

    def ask(
        self, kind: type[Answer], method: str, request: Message, timeout: float = TIMEOUT
    ) -> Answer:
        """Call once. A control plane that is away is waited for as long as the SDK says."""

        async def call() -> Message:
            tell, now = _transport.on_away.get(), asyncio.get_running_loop().time
            async with asyncio.timeout(timeout) as limit:

                def away() -> None:
                    tell()
                    limit.reschedule(now() + timeout)

                _transport.on_away.set(away)
                return await _transport.transport().unary(method, request)

        try:
            return cast("Answer", bridge().run(call()))
        except TimeoutError:
            raise errors.DeadlineError(
                f"the control plane did not answer `{method}` within {timeout:g} s"
            ) from None

    def watch(
        self, kind: type[Answer], method: str, request: Message, progress: Progress | None = None
    ) -> Iterator[Answer]:
        """What a stream answers, across restarts of the control plane."""
        on_lost = progress.reconnecting if progress is not None else _ignore
        for answer in iterate(watching(method, request, on_lost)):
            yield cast("Answer", answer)

    def apps(self, *, all_scopes: bool = False) -> list[scheduler_pb2.App]:
        """Every app, by name."""
        return self._pages(
            scheduler_pb2.ListAppsResponse,
            "SchedulerService/ListApps",
            lambda token: scheduler_pb2.ListAppsRequest(
                scope=self.scope, page_size=PAGE, page_token=token, all_scopes=all_scopes
            ),
            lambda page: page.apps,
        )

    def app(self, name: str) -> scheduler_pb2.App:
        """One app with its instances."""
        request = scheduler_pb2.GetAppRequest(scope=self.scope, name=name)
        answer = self.ask(scheduler_pb2.GetAppResponse, "SchedulerService/GetApp", request)
        return answer.app

    def watch_app(
        self, name: str, progress: Progress | None = None
    ) -> Iterator[scheduler_pb2.WatchAppResponse]:
        """An app, again at every change; the last has ``deleted``."""
        request = scheduler_pb2.WatchAppRequest(scope=self.scope, name=name)
        return self.watch(
            scheduler_pb2.WatchAppResponse, "SchedulerService/WatchApp", request, progress
        )

    def roll_back(self, name: str, revision: int) -> scheduler_pb2.App:
        """Go back to a revision; 0: the newest before this one that was ready."""
        request = scheduler_pb2.UpdateAppRequest(
            request_id=_transport.new_request_id(), scope=self.scope, name=name
        )
        request.rollback_to = revision
        answer = self.ask(scheduler_pb2.UpdateAppResponse, "SchedulerService/UpdateApp", request)
        return answer.app

    def delete_app(self, name: str) -> None:
        """Drain, stop and forget an app."""
        request = scheduler_pb2.DeleteAppRequest(
            request_id=_transport.new_request_id(), scope=self.scope, name=name
        )
        self.ask(scheduler_pb2.DeleteAppResponse, "SchedulerService/DeleteApp", request)

    def runs(
        self,
        *,
        task: str = "",
        phases: tuple[str, ...] = (),
        parent: str = "",
        limit: int = PAGE,
        all_scopes: bool = False,
    ) -> list[scheduler_pb2.Run]:
        """Runs, newest first, without inputs and outputs."""
        wanted = [_phase(each) for each in phases]
        return self._pages(
            scheduler_pb2.ListRunsResponse,
            "SchedulerService/ListRuns",
            lambda token: scheduler_pb2.ListRunsRequest(
                scope=self.scope,
                page_size=min(limit, PAGE),
                page_token=token,
                task=task,
                phases=wanted,
                parent=parent,
                all_scopes=all_scopes,
            ),
            lambda page: page.runs,
            limit,
        )

    def run(self, name: str) -> scheduler_pb2.Run:
        """One run, whole."""
        request = scheduler_pb2.GetRunRequest(name=name)
        answer = self.ask(scheduler_pb2.GetRunResponse, "SchedulerService/GetRun", request)
        return answer.run

    def watch_run(self, name: str, progress: Progress | None = None) -> Iterator[scheduler_pb2.Run]:
        """A run, again at every change, until it has ended."""
        request = scheduler_pb2.WatchRunRequest(name=name)
        for answer in self.watch(
            scheduler_pb2.WatchRunResponse, "SchedulerService/WatchRun", request, progress
        ):
            yield answer.run

    def submit(self, submission: scheduler_pb2.Submission) -> scheduler_pb2.Run:
        """Record one run."""
        request = scheduler_pb2.RunTaskRequest(submission=submission)
        answer = self.ask(scheduler_pb2.RunTaskResponse, "SchedulerService/RunTask", request)
        return answer.run

    def abort(self, name: str, reason: str) -> scheduler_pb2.Run:
        """End a run and its children."""
        request = scheduler_pb2.AbortRunRequest(
            request_id=_transport.new_request_id(), name=name, reason=reason
        )
        answer = self.ask(scheduler_pb2.AbortRunResponse, "SchedulerService/AbortRun", request)
        return answer.run

    def tasks(self, *, all_versions: bool = False) -> list[scheduler_pb2.Task]:
        """The deployed tasks, by name."""
        return self._pages(
            scheduler_pb2.ListTasksResponse,
            "SchedulerService/ListTasks",
            lambda token: scheduler_pb2.ListTasksRequest(
                scope=self.scope, page_size=PAGE, page_token=token, all_versions=all_versions
            ),
            lambda page: page.tasks,
        )

    def task(self, name: str, version: str = "") -> scheduler_pb2.Task:
        """One task, by its full, function or short name."""
        reference = scheduler_pb2.TaskRef(scope=self.scope, name=name, version=version)
        request = scheduler_pb2.GetTaskRequest(task=reference)
        answer = self.ask(scheduler_pb2.GetTaskResponse, "SchedulerService/GetTask", request)
        return answer.task

    def nodes(self) -> list[scheduler_pb2.Node]:
        """The nodes, by name."""
        return self._pages(
            scheduler_pb2.ListNodesResponse,
            "SchedulerService/ListNodes",
            lambda token: scheduler_pb2.ListNodesRequest(page_size=PAGE, page_token=token),
            lambda page: page.nodes,
        )

    def node(self, name: str) -> scheduler_pb2.Node:
        """One node. Raises `NotFoundError`."""
        for each in self.nodes():
            if each.name == name:
                return each
        raise errors.NotFoundError(f"there is no node `{name}`: see `callmesh get nodes`")

    def server(
        self, timeout: float = TIMEOUT, *, storage: bool = False
    ) -> scheduler_pb2.GetServerResponse:
        """What the control plane is; with ``storage`` also what it keeps on its disk."""
        return self.ask(
            scheduler_pb2.GetServerResponse,
            "SchedulerService/GetServer",
            scheduler_pb2.GetServerRequest(storage=storage),
            timeout,
        )

    def logs(
        self, request: log_pb2.TailLogsRequest, on_lost: Callable[[], None] | None = None
    ) -> Iterator[log_pb2.LogLine]:
        """Log lines. Those that are followed go on behind a restart of the control plane."""
        if request.follow:
            request.scope.CopyFrom(self.scope)
            for answer in iterate(following(request, on_lost or _ignore)):
                yield from answer.lines
        else:
            for answer in self.log_batches(request):
                yield from answer.lines

    def log_batches(self, request: log_pb2.TailLogsRequest) -> Iterator[log_pb2.TailLogsResponse]:
        """What there is now, in batches of one source, each with where it ends."""
        request.scope.CopyFrom(self.scope)
        for answer in iterate(stream("LogService/TailLogs", request)):
            yield cast("log_pb2.TailLogsResponse", answer)

    def secrets(self) -> list[secret_pb2.Secret]:
        """The secrets, without values."""
        return self._pages(
            secret_pb2.ListSecretsResponse,
            "SecretService/ListSecrets",
            lambda token: secret_pb2.ListSecretsRequest(
                scope=self.scope, page_size=PAGE, page_token=token
            ),
            lambda page: page.secrets,
        )

    def create_secret(self, name: str, value: bytes) -> None:
        """Create or replace a secret."""
        request = secret_pb2.CreateSecretRequest(
            request_id=_transport.new_request_id(), scope=self.scope, name=name, value=value
        )
        self.ask(secret_pb2.CreateSecretResponse, "SecretService/CreateSecret", request)

    def delete_secret(self, name: str) -> None:
        """Delete a secret."""
        request = secret_pb2.DeleteSecretRequest(
            request_id=_transport.new_request_id(), scope=self.scope, name=name
        )
        self.ask(secret_pb2.DeleteSecretResponse, "SecretService/DeleteSecret", request)

    def _pages(
        self,
        kind: type[Answer],
        method: str,
        request: Callable[[str], Message],
        items: Callable[[Any], Any],
        limit: int = 0,
    ) -> list[Any]:
        found: list[Any] = []
        token = ""
        while True:
            page: Any = self.ask(kind, method, request(token))
            found += items(page)
            token = page.next_page_token
            if not token or (limit and len(found) >= limit):
                return found[:limit] if limit else found


def connect(where: Where) -> Mesh:
    """The mesh that the options, the environment or the state folder name.

    Connects at the first question. Raises `InitializationError` where no mesh
    is to be found.
    """
    try:
        found = settings.find(
            where.endpoint or None, project=where.project or None, domain=where.domain or None
        )
    except names.NameProblem as problem:
        output.stop(str(problem), code=output.USAGE)
    # A root that the user's file has named stays in force.
    settings.use(replace(found, root_dir=settings.current().root_dir))
    _transport.on_away.set(reconnecting)
    return Mesh(found)


def which(connected: Mesh, target: str, kinds: tuple[str, ...] = ("app", "run")) -> tuple[str, str]:
    """Of which kind a name is: ``("app", name)``, ``("run", name)`` or ``("task", name)``.

    ``app/NAME`` and ``run/NAME`` say so themselves. Ends the command where it
    is none or several of ``kinds``.
    """
    kind, slash, name = target.partition("/")
    spelled = " or ".join(f"`{each}/NAME`" for each in kinds)
    if slash:
        if kind not in kinds:
            output.stop(f"`{target}` must be {spelled}", code=output.USAGE)
        return kind, name
    get = {"app": connected.app, "run": connected.run, "task": connected.task}
    found = [each for each in kinds if _exists(get[each], target)]
    if len(found) > 1:
        output.stop(
            f"`{target}` is {_listed([_a(each) for each in found])}",
            hint="write " + " or ".join(f"`{each}/{target}`" for each in found),
            code=output.USAGE,
        )
    if not found:
        scope = connected.scope
        output.stop(
            f"there is {_listed([f'no {each}' for each in kinds])} `{target}` in project "
            f"`{scope.project}`, domain `{scope.domain}`",
            hint="see " + _listed([f"`callmesh get {each}s`" for each in kinds]),
        )
    return found[0], target


def _a(kind: str) -> str:
    return f"{'an' if kind == 'app' else 'a'} {kind}"


def _listed(words: list[str]) -> str:
    return ", ".join(words[:-1]) + f" and {words[-1]}"


def _exists(get: Callable[[str], object], name: str) -> bool:
    try:
        get(name)
    except (errors.NotFoundError, errors.InvalidArgumentError):
        return False
    return True


def _phase(text: str) -> scheduler_pb2.RunPhase:
    known = [
        name.removeprefix("RUN_PHASE_").lower()
        for name, number in scheduler_pb2.RunPhase.items()
        if number
    ]
    name = text.lower().replace("-", "_")
    if name not in known:
        output.stop(
            f"`{text}` is not a phase: must be one of {', '.join(known)}", code=output.USAGE
        )
    return cast("scheduler_pb2.RunPhase", scheduler_pb2.RunPhase.Value(f"RUN_PHASE_{name.upper()}"))


def _ignore() -> None:
    """For a watch that nobody looks at."""
