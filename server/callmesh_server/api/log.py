"""LogService: the lines of an app's instances and of a run's attempts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing

from callmesh_server.api.caller import Caller
from callmesh_server.api.validate import Problems, scope_of
from callmesh_server.logs import Logs
from callmesh_wire.errors import InvalidArgumentError
from callmesh_wire.names import AppName, check_app, check_run
from callmeshpb.v1 import log_pb2

DEFAULT_LINES = 1_000
MAX_LINES = 100_000
MAX_RESUMED = 1_000
MAX_POSITION = 1 << 62


class LogApi:
    """The methods of LogService."""

    def __init__(self, logs: Logs) -> None:
        self._logs = logs

    async def tail_logs(
        self, request: log_pb2.TailLogsRequest, _caller: Caller
    ) -> AsyncIterator[log_pb2.TailLogsResponse]:
        """The last lines of each source, then new ones."""
        problems = Problems()
        project, domain = scope_of(request.scope, problems)
        problems.within(request.tail_lines, 0, MAX_LINES, "tail_lines")
        problems.text(request.instance_id, 128, "instance_id")
        problems.within(len(request.resume), 0, MAX_RESUMED, "the number of entries in resume")
        for position in request.resume.values():
            problems.within(position, 0, MAX_POSITION, "resume")
        match request.WhichOneof("target"):
            case "app":
                problems.name(check_app, request.app)
            case "run":
                problems.name(check_run, request.run)
            case None:
                raise InvalidArgumentError("one of `app` and `run` must be set")
        problems.raise_if_any()
        lines = request.tail_lines or DEFAULT_LINES
        if request.run:
            found = self._logs.of_run(request.run, lines, request.resume, follow=request.follow)
        else:
            name = AppName(project, domain, request.app)
            found = self._logs.of_app(
                name, lines, request.instance_id, request.resume, follow=request.follow
            )
        async with aclosing(found) as batches:
            async for batch in batches:
                yield batch
