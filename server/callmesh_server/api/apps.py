"""Apps: read, watched, changed and deleted."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

from callmesh_server.api import paging
from callmesh_server.api.caller import Caller
from callmesh_server.api.idempotency import Requests
from callmesh_server.api.specs import MAX_REPLICAS
from callmesh_server.api.validate import Problems, scope_of
from callmesh_server.apply import Applier
from callmesh_server.changes import AppChanged, Changes
from callmesh_server.core import revisions
from callmesh_server.core.actions import PutApp
from callmesh_server.core.world import World, app_name
from callmesh_server.routed import Routed
from callmesh_wire.errors import InvalidArgumentError, NotFoundError
from callmesh_wire.names import AppName, check_app
from callmeshpb.v1 import common_pb2, scheduler_pb2


class AppApi:
    """The app methods of SchedulerService, but Deploy."""

    def __init__(
        self,
        world: World,
        changes: Changes,
        applier: Applier,
        requests: Requests,
        routed: Routed,
    ) -> None:
        self._world = world
        self._changes = changes
        self._applier = applier
        self._requests = requests
        self._routed = routed

    async def get_app(
        self, request: scheduler_pb2.GetAppRequest, _caller: Caller
    ) -> scheduler_pb2.GetAppResponse:
        """One app with its instances."""
        return scheduler_pb2.GetAppResponse(app=self._whole(_name(request.scope, request.name)))

    async def list_apps(
        self, request: scheduler_pb2.ListAppsRequest, _caller: Caller
    ) -> scheduler_pb2.ListAppsResponse:
        """Apps by name, of one scope or of all."""
        names = list(self._world.apps)
        if not request.all_scopes:
            project, domain = scope_of(request.scope)
            names = [each for each in names if (each.project, each.domain) == (project, domain)]
        found, token = paging.page(
            names,
            lambda each: f"{each.project}/{each.domain}/{each.name}",
            request.page_size,
            request.page_token,
        )
        return scheduler_pb2.ListAppsResponse(
            apps=[self._whole(name) for name in found], next_page_token=token
        )

    async def watch_app(
        self, request: scheduler_pb2.WatchAppRequest, _caller: Caller
    ) -> AsyncIterator[scheduler_pb2.WatchAppResponse]:
        """The whole app, now and at every change; ends with its deletion."""
        name = _name(request.scope, request.name)
        last = self._whole(name)
        with self._changes.watch(AppChanged(name)) as changed:
            yield scheduler_pb2.WatchAppResponse(app=last)
            while True:
                await changed.wait()
                changed.clear()
                if name not in self._world.apps:
                    yield scheduler_pb2.WatchAppResponse(app=last, deleted=True)
                    return
                if self._routed.hides(self._record(name)):
                    continue  # told once it is routed to
                app = self._whole(name)
                if app != last:
                    last = app
                    yield scheduler_pb2.WatchAppResponse(app=app)

    async def update_app(
        self, request: scheduler_pb2.UpdateAppRequest, _caller: Caller
    ) -> scheduler_pb2.UpdateAppResponse:
        """Activate, deactivate, scale or roll back."""
        name = _name(request.scope, request.name)
        _check_change(request)

        async def change() -> scheduler_pb2.UpdateAppResponse:
            app = revisions.updated(self._record(name), request, time.time())
            self._applier.perform([PutApp(app)])
            return scheduler_pb2.UpdateAppResponse(app=self._whole(name))

        return await self._requests.once(
            request.request_id, "UpdateApp", scheduler_pb2.UpdateAppResponse, change
        )

    async def delete_app(
        self, request: scheduler_pb2.DeleteAppRequest, _caller: Caller
    ) -> scheduler_pb2.DeleteAppResponse:
        """Drain and stop every instance, then forget the app."""
        name = _name(request.scope, request.name)

        async def change() -> scheduler_pb2.DeleteAppResponse:
            before = self._record(name)
            if not before.deleting:
                self._applier.perform([PutApp(revisions.deleted(before, time.time()))])
            return scheduler_pb2.DeleteAppResponse()

        return await self._requests.once(
            request.request_id, "DeleteApp", scheduler_pb2.DeleteAppResponse, change
        )

    def _record(self, name: AppName) -> scheduler_pb2.App:
        app = self._world.apps.get(name)
        if app is None:
            raise NotFoundError(self._missing(name))
        return app

    def _whole(self, name: AppName) -> scheduler_pb2.App:
        """The app with its instances, the reader's own."""
        whole = scheduler_pb2.App()
        whole.CopyFrom(self._record(name))
        whole.instances.extend(self._world.instances_of(name))
        self._routed.show(whole)
        return whole

    def _missing(self, name: AppName) -> str:
        import difflib

        here = [a.name for a in self._world.apps if (a.project, a.domain) == name_scope(name)]
        sentence = f"there is no app `{name.name}` in {name.project}/{name.domain}"
        close = difflib.get_close_matches(name.name, here, n=3)
        if close:
            return f"{sentence}: did you mean {' or '.join(f'`{each}`' for each in close)}?"
        places = sorted(
            f"{a.project}/{a.domain}" for a in map(app_name, self._world.apps.values())
            if a.name == name.name
        )  # fmt: skip
        if places:
            return f"{sentence}: one is in {', '.join(places)}; name its project and domain"
        return f"{sentence}: deploy it; `callmesh get apps` lists what there is"


def name_scope(name: AppName) -> tuple[str, str]:
    """Project and domain of a name."""
    return name.project, name.domain


def _name(scope: common_pb2.Scope, name: str) -> AppName:
    problems = Problems()
    project, domain = scope_of(scope, problems)
    problems.name(check_app, name)
    problems.raise_if_any()
    return AppName(project, domain, name)


def _check_change(request: scheduler_pb2.UpdateAppRequest) -> None:
    problems = Problems()
    match request.WhichOneof("change"):
        case None:
            raise InvalidArgumentError(
                "one of `desired_state`, `scale` and `rollback_to` must be set"
            )
        case "desired_state":
            if request.desired_state not in (
                scheduler_pb2.DESIRED_STATE_ACTIVE,
                scheduler_pb2.DESIRED_STATE_INACTIVE,
            ):
                problems.add("`desired_state` must be ACTIVE or INACTIVE")
        case "scale":
            scale = request.scale
            problems.within(scale.min_replicas, 0, MAX_REPLICAS, "scale.min_replicas")
            problems.within(scale.max_replicas, 0, MAX_REPLICAS, "scale.max_replicas")
        case "rollback_to":
            problems.within(request.rollback_to, 0, 2**62, "rollback_to")
    problems.raise_if_any()
