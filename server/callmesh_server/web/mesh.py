"""What the pages read, over the server's API on its Unix socket."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass, field
from typing import Any

import grpc

from callmesh_server.web import show
from callmesh_wire import channel, status
from callmesh_wire.errors import CallmeshError, DeadlineError, NotFoundError
from callmesh_wire.names import AppName
from callmeshpb.v1 import (
    common_pb2,
    log_pb2,
    log_pb2_grpc,
    scheduler_pb2,
    scheduler_pb2_grpc,
)

APPS = 200
RUNS = 30
RELATIVES = 150
"""The most children, grandchildren and so on that a run's page lists."""
DEPTH = 4
LOG_LINES = 60
_DEADLINE = 5.0
_LOG_DEADLINE = 1.5


@dataclass(frozen=True, slots=True)
class Home:
    """What exists."""

    server: scheduler_pb2.GetServerResponse
    nodes: list[scheduler_pb2.Node]
    apps: list[scheduler_pb2.App]
    tasks: list[scheduler_pb2.Task]
    runs: list[scheduler_pb2.Run]


@dataclass(frozen=True, slots=True)
class Log:
    """The end of a log, and why there is none."""

    lines: list[log_pb2.LogLine] = field(default_factory=list)
    problem: str = ""


@dataclass(frozen=True, slots=True)
class RunStory:
    """A run, where it came from, what it started, and what it printed."""

    run: scheduler_pb2.Run
    # From the root to the parent.
    ancestors: list[str]
    tree: list[show.Branch]
    log: Log


@dataclass(frozen=True, slots=True)
class AppStory:
    """An app and what it printed."""

    app: scheduler_pb2.App
    log: Log


class Mesh:
    """Reads of the API. Every method raises `CallmeshError`."""

    def __init__(self, target: str) -> None:
        """``target``: the API as gRPC names it, ``unix:/path``."""
        self._channel = channel.open_channel(target)
        self._scheduler = scheduler_pb2_grpc.SchedulerServiceStub(self._channel)
        self._logs = log_pb2_grpc.LogServiceStub(self._channel)

    async def close(self) -> None:
        """Close the channel."""
        await self._channel.close(None)

    async def home(self) -> Home:
        """All apps, the tasks of the scopes in use, and the newest runs."""
        server, nodes, apps, runs = await _together(
            self._ask("GetServer", scheduler_pb2.GetServerRequest()),
            self._ask("ListNodes", scheduler_pb2.ListNodesRequest(page_size=100)),
            self.apps(),
            self.runs(),
        )
        scopes = {("default", "development")}
        scopes |= {(app.spec.project, app.spec.domain) for app in apps}
        scopes |= {(run.project, run.domain) for run in runs}
        tasks = await _together(*(self._tasks(*scope) for scope in sorted(scopes)))
        return Home(
            server=server,
            nodes=list(nodes.nodes),
            apps=apps,
            tasks=[task for each in tasks for task in each],
            runs=runs,
        )

    async def apps(self) -> list[scheduler_pb2.App]:
        """Every app with its instances, by name."""
        request = scheduler_pb2.ListAppsRequest(page_size=APPS, all_scopes=True)
        listed = (await self._ask("ListApps", request)).apps
        full = await _together(*(self._app_or(each) for each in listed))
        return sorted(full, key=lambda app: show.mesh_name(app.spec))

    async def runs(self) -> list[scheduler_pb2.Run]:
        """The newest runs that nobody but a user or an app started."""
        request = scheduler_pb2.ListRunsRequest(page_size=5 * RUNS, all_scopes=True)
        answer = await self._ask("ListRuns", request)
        return [run for run in answer.runs if not run.parent][:RUNS]

    async def app(self, name: AppName) -> scheduler_pb2.App:
        """One app. Raises `NotFoundError`."""
        scope = common_pb2.Scope(project=name.project, domain=name.domain)
        request = scheduler_pb2.GetAppRequest(scope=scope, name=name.name)
        app: scheduler_pb2.App = (await self._ask("GetApp", request)).app
        return app

    async def app_story(self, name: AppName) -> AppStory:
        """One app with the end of its log. Raises `NotFoundError`."""
        app = await self.app(name)
        scope = common_pb2.Scope(project=name.project, domain=name.domain)
        request = log_pb2.TailLogsRequest(scope=scope, app=name.name, tail_lines=LOG_LINES)
        return AppStory(app=app, log=await self._log(request))

    async def run_story(self, name: str) -> RunStory:
        """One run with its relatives and log. Raises `NotFoundError`."""
        run = (await self._ask("GetRun", scheduler_pb2.GetRunRequest(name=name))).run
        scope = common_pb2.Scope(project=run.project, domain=run.domain)
        request = log_pb2.TailLogsRequest(scope=scope, run=name, tail_lines=LOG_LINES)
        tree: list[show.Branch] = []
        ancestors, _, log = await _together(
            self._ancestors(run), self._grow(tree, run, 0), self._log(request)
        )
        return RunStory(run=run, ancestors=ancestors, tree=tree, log=log)

    async def _ask(self, method: str, request: Any) -> Any:
        try:
            return await getattr(self._scheduler, method)(request, timeout=_DEADLINE)
        except grpc.aio.AioRpcError as problem:
            raise status.from_rpc(problem) from None

    async def _app_or(self, listed: scheduler_pb2.App) -> scheduler_pb2.App:
        """The app with its instances, or as listed if it is gone meanwhile."""
        spec = listed.spec
        try:
            return await self.app(AppName(spec.project, spec.domain, spec.name))
        except NotFoundError:
            return listed

    async def _tasks(self, project: str, domain: str) -> list[scheduler_pb2.Task]:
        scope = common_pb2.Scope(project=project, domain=domain)
        request = scheduler_pb2.ListTasksRequest(scope=scope, page_size=500)
        return list((await self._ask("ListTasks", request)).tasks)

    async def _ancestors(self, run: scheduler_pb2.Run) -> list[str]:
        names: list[str] = []
        while run.parent and len(names) < DEPTH:
            names.insert(0, run.parent)
            request = scheduler_pb2.GetRunRequest(name=run.parent)
            run = (await self._ask("GetRun", request)).run
        return names

    async def _grow(self, tree: list[show.Branch], run: scheduler_pb2.Run, depth: int) -> None:
        """Append the descendants of ``run``, each before its own children."""
        request = scheduler_pb2.ListRunsRequest(
            parent=run.name, page_size=RELATIVES, all_scopes=True
        )
        answer = await self._ask("ListRuns", request)
        ordered: Iterable[list[scheduler_pb2.Run]] = show.groups(answer.runs).values()
        for child in (child for group in ordered for child in group):
            if len(tree) >= RELATIVES:
                return
            tree.append(show.Branch(child, depth))
            if depth + 1 < DEPTH:
                await self._grow(tree, child, depth + 1)

    async def _log(self, request: log_pb2.TailLogsRequest) -> Log:
        """A log's end; what keeps it from being read is no reason to show no page."""
        lines: list[log_pb2.LogLine] = []
        try:
            async for answer in self._logs.TailLogs(request, timeout=_LOG_DEADLINE):
                lines.extend(answer.lines)
        except grpc.aio.AioRpcError as failed:
            problem = status.from_rpc(failed)
            if isinstance(problem, DeadlineError):
                return Log(lines, "The node did not send the log in time: load the page again.")
            return Log(lines, problem.message)
        return Log(lines[-LOG_LINES:])


async def _together(*reads: Coroutine[Any, Any, Any]) -> list[Any]:
    """The results of all reads at once. The first `CallmeshError` is raised as itself."""
    first: BaseException | None = None
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(read) for read in reads]
    except* CallmeshError as problems:
        first = problems
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
    # Not inside `except*`: Python 3.11.2 would wrap it in a group again.
    if first is not None:
        raise first from None
    return [task.result() for task in tasks]
