"""Routes and pages. Everything is read-only: GET and HEAD, no form, no script."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from callmesh_server.web import hosts, show
from callmesh_server.web.mesh import Mesh
from callmesh_wire.errors import (
    CallmeshError,
    DeadlineError,
    InvalidArgumentError,
    NotFoundError,
    UnavailableError,
)
from callmesh_wire.names import AppName, NameProblem
from callmesh_wire.nodes import node_state
from callmeshpb.v1 import common_pb2, scheduler_pb2

_HERE = Path(__file__).parent
_STYLE = (_HERE / "style.css").read_text()
STYLE_PATH = "/style.css"
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


def build(mesh: Mesh, ingress_port: int) -> ASGIApp:
    """The pages of what ``mesh`` reads. Browsers reach them at ``ingress_port``."""
    pages = Pages(mesh, f"http://localhost:{ingress_port}")
    routes = [
        Route("/", pages.home),
        Route("/runs/{name}", pages.run),
        Route("/apps/{name}", pages.app),
        Route(STYLE_PATH, style),
    ]
    site = Starlette(
        routes=routes,
        exception_handlers={404: pages.not_found, CallmeshError: pages.failed},
    )
    return Door(site, pages)


async def style(_: Request) -> Response:
    """The style sheet."""
    return Response(_STYLE, media_type="text/css", headers=HEADERS)


class Door:
    """Lets in what asks for the pages under a name of this machine."""

    def __init__(self, site: ASGIApp, pages: Pages) -> None:
        self._site = site
        self._pages = pages

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        name = hosts.app_of(hosts.host_name(request.headers.get("host", "")))
        answer: ASGIApp = self._refusal(request, name) or self._site
        if answer is self._site and name and request.url.path != STYLE_PATH:
            answer = await self._pages.other_host(request, name)
        await answer(scope, receive, send)

    def _refusal(self, request: Request, app: str) -> Response | None:
        origin = request.headers.get("origin")
        if not hosts.is_ours(hosts.host_name(request.headers.get("host", ""))):
            return _plain(421, f"callmesh's pages are at {self._pages.base}/")
        if origin is not None and not hosts.origin_is_ours(origin):
            return _plain(403, "callmesh's pages do not answer scripts of other sites")
        # At an app's name any method is a call of the app, which the answer is about.
        if not app and request.method not in ("GET", "HEAD"):
            return _plain(405, "callmesh's pages are read only", Allow="GET, HEAD")
        return None


class Pages:
    """The pages' handlers."""

    def __init__(self, mesh: Mesh, base: str) -> None:
        """``base``: what links start with where the page is at another host's name."""
        self._mesh = mesh
        self.base = base
        self._templates = _templates()

    async def home(self, _: Request) -> Response:
        """Apps, tasks and runs."""
        home = await self._mesh.home()
        moving = any(not show.is_settled(app) for app in home.apps)
        moving = moving or any(not show.is_final(run) for run in home.runs)
        return self._page("home.html", home=home, refresh=2 if moving else 0)

    async def run(self, request: Request) -> Response:
        """One run. It is loaded again for as long as the run has not ended."""
        story = await self._mesh.run_story(request.path_params["name"])
        age = time.time() - show.epoch(story.run.created_at)
        over = show.is_final(story.run)
        return self._page("run.html", story=story, refresh=0 if over else show.refresh_after(age))

    async def app(self, request: Request) -> Response:
        """One app, by its mesh name."""
        try:
            name = AppName.from_mesh_name(request.path_params["name"])
        except NameProblem as problem:
            raise NotFoundError(str(problem)) from None
        story = await self._mesh.app_story(name)
        refresh = 0 if show.is_settled(story.app) else 2
        return self._page("app.html", story=story, name=name.mesh_name, refresh=refresh)

    async def other_host(self, request: Request, name: str) -> Response:
        """The answer at an app's own host name, where no instance could be called."""
        try:
            app = await self._mesh.app(AppName.from_mesh_name(name))
        except (NameProblem, NotFoundError):
            if not _is_for_reading(request):
                return _plain(404, f"there is no app `{name}`: {self.base}/ lists what there is")
            return await self._missing(f"no app `{name}`", self.base)
        except CallmeshError as problem:
            return await self.failed(request, problem)
        if not _is_for_reading(request):
            text = f"no instance of app `{name}` is ready: {self.base}/apps/{name} says why"
            return _plain(503, text)
        return self._page("waiting.html", 503, app=app, name=name, base=self.base, refresh=2)

    async def not_found(self, request: Request, _: Exception) -> Response:
        """The answer at an unknown path."""
        return await self._missing(f"no page `{request.url.path}`")

    async def failed(self, _: Request, problem: Exception) -> Response:
        """The answer when a read failed."""
        if isinstance(problem, NotFoundError | InvalidArgumentError):
            return await self._missing(str(problem))
        if isinstance(problem, UnavailableError | DeadlineError):
            return self._page("failed.html", 503, message=str(problem), refresh=3)
        return self._page("failed.html", 500, message=str(problem), refresh=0)

    async def _missing(self, message: str, base: str = "") -> Response:
        """404 with a list of what exists."""
        try:
            apps, runs = await self._mesh.apps(), await self._mesh.runs()
        except CallmeshError as problem:
            return self._page("failed.html", 503, message=f"{message}; {problem}", refresh=0)
        return self._page(
            "missing.html", 404, message=message, apps=apps, runs=runs[:10], base=base, refresh=0
        )

    def _page(self, template: str, code: int = 200, **values: Any) -> Response:
        text = self._templates.get_template(template).render(now=time.time(), **values)
        return Response(text, code, media_type="text/html", headers=HEADERS)


def _is_for_reading(request: Request) -> bool:
    """Whether a person looks at the answer; a program is told in one line."""
    asks = request.headers.get("accept", "*/*")
    return request.method in ("GET", "HEAD") and "text/html" in asks


def _plain(code: int, text: str, **headers: str) -> Response:
    return PlainTextResponse(f"{text}\n", code, headers=HEADERS | headers)


def _templates() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "ago": show.ago,
        "seconds": show.seconds,
        "value": show.value_text,
        "replicas": show.replicas,
        "mesh_name": show.mesh_name,
        "link_target": show.link_target,
        "called": show.called,
        "signature": show.signature,
        "size": show.size,
        "tone": show.tone,
        "iso": lambda time_: time_.ToJsonString() if show.epoch(time_) else "",
        "phase": lambda run: show.word(scheduler_pb2.RunPhase, run.phase),
        "attempt_phase": lambda each: show.word(scheduler_pb2.AttemptPhase, each.phase),
        "app_state": lambda app: show.word(scheduler_pb2.AppState, app.state),
        "instance_state": lambda each: show.word(scheduler_pb2.InstanceState, each.status.state),
        "node_state": node_state,
        "condition_status": lambda each: show.word(common_pb2.ConditionStatus, each.status),
    }
    environment.globals |= {"duration": show.duration, "epoch": show.epoch}
    return environment
