"""An app of the mesh, as it is there."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from typing import Literal

from callmesh import settings
from callmesh._sync import Flow, Verb, class_flow, class_method, method
from callmesh._transport import call, new_request_id, transport
from callmesh.errors import AppNotFoundError, DeploymentError
from callmesh.remote import _watching
from callmesh_wire.errors import NotFoundError
from callmeshpb.v1 import common_pb2, log_pb2, scheduler_pb2

WaitFor = Literal["activated", "deactivated"]
PAGE = 100


class _Delete:
    """`App.delete`: of an app at hand, ``app.delete()``, or by name, ``App.delete("web")``.

    It is drained, stopped and forgotten; one that is gone is no error.
    """

    def __get__(self, app: App | None, _owner: type[App]) -> Verb[..., None]:
        return Verb(functools.partial(self._delete, app))

    async def _delete(
        self,
        app: App | None,
        name: str | None = None,
        project: str | None = None,
        domain: str | None = None,
    ) -> None:
        if (app is None) == (name is None):
            raise TypeError('`delete` takes a name on the class: `App.delete("web")`')
        scope = app._scope if app is not None else scope_of(project, domain)
        request = scheduler_pb2.DeleteAppRequest(
            request_id=new_request_id(), scope=scope, name=app.name if app is not None else name
        )
        with contextlib.suppress(NotFoundError):
            await call(scheduler_pb2.DeleteAppResponse, "SchedulerService/DeleteApp", request)


class App:
    """A read model: what `get` or the last refresh saw. ``pb2`` is the whole record."""

    def __init__(self, record: scheduler_pb2.App) -> None:
        self.pb2 = record

    @property
    def name(self) -> str:
        """Its name."""
        return self.pb2.spec.name

    @property
    def project(self) -> str:
        """Its project."""
        return self.pb2.spec.project

    @property
    def domain(self) -> str:
        """Its domain."""
        return self.pb2.spec.domain

    @property
    def revision(self) -> int:
        """Grows by one with every changed specification."""
        return int(self.pb2.revision)

    @property
    def endpoint(self) -> str:
        """Where code on a node calls it."""
        return self.pb2.endpoint

    @property
    def url(self) -> str:
        """Where a browser calls it."""
        return self.pb2.url

    @property
    def state(self) -> str:
        """One word: pending, deploying, ready, failed, inactive, deleting."""
        return scheduler_pb2.AppState.Name(self.pb2.state).removeprefix("APP_STATE_").lower()

    @property
    def deployment_status(self) -> str:
        """The same as `state`."""
        return self.state

    @property
    def desired_state(self) -> str:
        """What was asked for: active or inactive."""
        name = scheduler_pb2.DesiredState.Name(self.pb2.desired_state)
        return name.removeprefix("DESIRED_STATE_").lower()

    def is_active(self) -> bool:
        """It takes calls."""
        wanted = self.pb2.desired_state != scheduler_pb2.DESIRED_STATE_INACTIVE
        return wanted and self.pb2.serving_revision > 0 and not self.pb2.deleting

    def is_deactivated(self) -> bool:
        """It was asked to stop, and has."""
        return self.pb2.state == scheduler_pb2.APP_STATE_INACTIVE

    @class_method
    @classmethod
    async def get(cls, name: str, project: str | None = None, domain: str | None = None) -> App:
        """The app of this name. Raises `errors.AppNotFoundError`."""
        scope = scope_of(project, domain)
        return cls(await fetch(scope, name))

    @class_flow
    @classmethod
    async def listall(
        cls,
        *,
        limit: int = 100,
        project: str | None = None,
        domain: str | None = None,
        created_by_subject: str | None = None,
        sort_by: object = None,
        in_status: object = None,
    ) -> AsyncGenerator[App, None]:
        """The apps of a project and domain, at most ``limit`` of them.

        ``in_status`` is a list of states, spelled as `state` is.
        """
        del created_by_subject, sort_by
        wanted = {str(each) for each in in_status} if isinstance(in_status, list | tuple) else None
        token, left = "", limit
        while left > 0:
            answer = await call(
                scheduler_pb2.ListAppsResponse,
                "SchedulerService/ListApps",
                scheduler_pb2.ListAppsRequest(
                    scope=scope_of(project, domain), page_size=min(PAGE, left), page_token=token
                ),
            )
            for record in answer.apps:
                app = cls(record)
                if wanted is None or app.state in wanted:
                    yield app
            left -= len(answer.apps)
            token = answer.next_page_token
            if not token:
                return

    @method
    async def refresh(self) -> App:
        """Ask again. Raises `errors.AppNotFoundError` where it was deleted."""
        self.pb2 = await fetch(self._scope, self.name)
        return self

    @method
    async def activate(self, wait: bool = False) -> App:  # noqa: FBT001, FBT002 - Flyte's
        """Have it run. With ``wait`` until it takes calls."""
        await self._ask(scheduler_pb2.DESIRED_STATE_ACTIVE)
        if wait:
            await self._reach("activated")
        return self

    @method
    async def deactivate(self, wait: bool = False) -> App:  # noqa: FBT001, FBT002 - Flyte's
        """Have it drained and stopped. With ``wait`` until it is."""
        await self._ask(scheduler_pb2.DESIRED_STATE_INACTIVE)
        if wait:
            await self._reach("deactivated")
        return self

    @method
    async def watch(self, wait_for: WaitFor = "activated") -> App:
        """Wait until it takes calls, or has stopped.

        Raises `errors.DeploymentError` when it fails or goes the other way.
        """
        await self._reach(wait_for)
        return self

    delete = _Delete()

    @property
    def logs(self) -> Flow[..., log_pb2.LogLine]:
        """Lines of its instances: ``for line in app.logs(max_lines=100, follow=True)``.

        The newest ``max_lines``, and with ``follow`` what comes; each has
        ``source`` and ``text``. ``.aio(…)`` is for ``async for``.
        """
        return Flow(self._logs)

    @method
    async def show_logs(
        self,
        /,
        max_lines: int = 30,
        replica_name: str | None = None,
        **_options: object,
    ) -> str:
        """The last lines of its instances, or of one of them, as text."""
        lines = []
        async for line in self._logs(max_lines):
            if replica_name in (None, line.source):
                lines.append(f"{line.source} {line.text}")
        return "\n".join(lines)

    async def _logs(
        self, max_lines: int = 1000, *, follow: bool = False
    ) -> AsyncGenerator[log_pb2.LogLine, None]:
        request = log_pb2.TailLogsRequest(
            scope=self._scope, app=self.name, tail_lines=max_lines, follow=follow
        )
        async for answer in transport().stream("LogService/TailLogs", request):
            for line in getattr(answer, "lines", ()):
                yield line

    @contextlib.asynccontextmanager
    async def ephemeral_ctx(self) -> AsyncIterator[App]:
        """Active inside the block, deactivated after it."""
        await self.activate.aio(wait=True)
        try:
            yield self
        finally:
            await self.deactivate.aio(wait=True)

    @contextlib.contextmanager
    def ephemeral_ctx_sync(self) -> Iterator[App]:
        """The same for blocking code."""
        self.activate(wait=True)
        try:
            yield self
        finally:
            self.deactivate(wait=True)

    @property
    def _scope(self) -> common_pb2.Scope:
        return common_pb2.Scope(project=self.project, domain=self.domain)

    async def _ask(self, state: scheduler_pb2.DesiredState) -> None:
        request = scheduler_pb2.UpdateAppRequest(
            request_id=new_request_id(), scope=self._scope, name=self.name, desired_state=state
        )
        answer = await call(scheduler_pb2.UpdateAppResponse, "SchedulerService/UpdateApp", request)
        self.pb2 = answer.app

    async def _reach(self, wait_for: WaitFor) -> None:
        async for state in _watching.app_states(self._scope, self.name):
            if state.deleted:
                raise AppNotFoundError(f"app `{self.name}` was deleted meanwhile")
            self.pb2 = state.app
            if wait_for == "deactivated":
                if self.is_deactivated():
                    return
            elif self._is_ready_or_failed():
                return

    def _is_ready_or_failed(self) -> bool:
        if self.pb2.state == scheduler_pb2.APP_STATE_READY:
            return True
        if self.is_deactivated():
            raise DeploymentError(f"app `{self.name}` was deactivated meanwhile")
        if self.pb2.state == scheduler_pb2.APP_STATE_FAILED:
            raise DeploymentError(failure_text(self.pb2))
        return False

    def __repr__(self) -> str:
        return f"<app `{self.name}` revision {self.revision}: {self.state}>"


def scope_of(project: str | None, domain: str | None) -> common_pb2.Scope:
    """A scope; what is not said is this process's own."""
    current = settings.current()
    return common_pb2.Scope(project=project or current.project, domain=domain or current.domain)


async def fetch(scope: common_pb2.Scope, name: str) -> scheduler_pb2.App:
    """An app's record. Raises `errors.AppNotFoundError`."""
    request = scheduler_pb2.GetAppRequest(scope=scope, name=name)
    try:
        answer = await call(scheduler_pb2.GetAppResponse, "SchedulerService/GetApp", request)
    except NotFoundError:
        raise AppNotFoundError(
            f"app `{name}` is not deployed in project `{scope.project}`, domain "
            f"`{scope.domain}`: deploy it, or list what is there with `callmesh get apps`"
        ) from None
    return answer.app


def failure_text(app: scheduler_pb2.App) -> str:
    """Why an app's newest revision failed, with the last lines that it wrote."""
    told = [
        each.message
        for each in app.conditions
        if each.status == common_pb2.CONDITION_STATUS_FALSE and each.message
    ]
    # "Ready" repeats the first line of "Progressing" where nothing else is to be said.
    told = [each for at, each in enumerate(told) if not any(each in other for other in told[:at])]
    lines = [f"app `{app.spec.name}` revision {app.revision} failed: {'; '.join(told[:2])}"]
    tails = [each.status.log_tail for each in app.instances if each.revision == app.revision]
    lines += [f"  {line}" for line in next(filter(None, tails), ())]
    return "\n".join(lines)
