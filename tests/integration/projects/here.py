"""Apps and tasks that are served and run without a mesh."""

from __future__ import annotations

import os
import subprocess

from fastapi import FastAPI, HTTPException

import callmesh as flyte
from callmesh.app import AppEndpoint, AppEnvironment, Parameter
from callmesh.app.extras import FastAPIAppEnvironment

back_app, front_app, sick_app = FastAPI(), FastAPI(), FastAPI()
back = FastAPIAppEnvironment(name="back", app=back_app, env_vars={"WHO": "back", "OVER": "env"})
front = FastAPIAppEnvironment(
    name="front",
    app=front_app,
    depends_on=[back],
    parameters=[
        Parameter("back-url", AppEndpoint("back"), env_var="BACK_URL"),
        Parameter("number", 3, env_var="NUMBER"),
    ],
)
hooked = AppEnvironment(name="hooked", parameters=[Parameter("greeting", "hi")])
command = AppEnvironment(name="command", args="python -m http.server $PORT --bind 127.0.0.1")
crash = AppEnvironment(name="crash", args=["echo last words; exit 3"])
deaf = AppEnvironment(name="deaf", args=["sleep 100"])
sick = FastAPIAppEnvironment(name="sick", app=sick_app)
files = AppEnvironment(
    name="files",
    # Not the default, which others take while this one is started.
    port=18231,
    parameters=[
        Parameter("file", env_var="FILE"),
        Parameter("mounted", mount=os.environ.get("MOUNT")),
        Parameter("folder", env_var="FOLDER"),
    ],
)
fixed = AppEnvironment(
    name="fixed",
    port=int(os.environ.get("FIXED_PORT", "8080")),
    args=[f"python -m http.server {os.environ.get('FIXED_PORT', '8080')} --bind 127.0.0.1"],
)
tasks = flyte.TaskEnvironment(name="here_tasks", depends_on=[front], env_vars={"KIND": "task"})


@back_app.get("/who")
def who() -> dict[str, str | int]:
    return {"who": os.environ["WHO"], "over": os.environ["OVER"], "pid": os.getpid()}


@front_app.get("/")
def root() -> dict[str, object]:
    return {
        "back": _get(os.environ["BACK_URL"] + "/who"),
        "same": back.endpoint == os.environ["BACK_URL"],
        "number": os.environ["NUMBER"],
        "name": flyte.app.ctx().name,
        "mode": flyte.app.ctx().mode,
    }


@front_app.get("/stop")
def stop() -> int:
    answer = 41
    breakpoint()
    return answer


@sick_app.get("/health")
def health() -> None:
    raise HTTPException(503, "not yet")


@hooked.on_startup
def up(greeting: str) -> None:
    print("up", greeting, flush=True)


@hooked.server
def serve() -> None:
    from http.server import HTTPServer, SimpleHTTPRequestHandler

    child = subprocess.Popen(["sleep", "1234"])
    print("child", child.pid, flush=True)
    HTTPServer(("127.0.0.1", int(hooked.get_port())), SimpleHTTPRequestHandler).serve_forever()


@hooked.on_shutdown
def down() -> None:
    print("down", flush=True)


@files.server
def show(file: str, mounted: str, folder: str) -> None:
    from http.server import HTTPServer, SimpleHTTPRequestHandler
    from pathlib import Path

    assert mounted == os.environ["MOUNT"], mounted
    texts = [Path(each).read_text() for each in (file, mounted)]
    names = sorted(each.name for each in Path(folder).iterdir())
    print(f"files: {', '.join(texts)}, {names}", flush=True)
    HTTPServer(("127.0.0.1", int(files.get_port())), SimpleHTTPRequestHandler).serve_forever()


@tasks.task
async def ask() -> str:
    return str(_get(front.endpoint)["back"]["who"])


@tasks.task
def stopped(x: int) -> int:
    breakpoint()
    return x


@tasks.task
def add(x: int, y: int = 2) -> int:
    print("adding")
    subprocess.run(["echo", "child adds"], check=True)
    return x + y


@tasks.task
def variables() -> list[str]:
    return [os.environ["KIND"], os.environ.get("GIVEN", "none")]


@tasks.task
def fails(x: int) -> int:
    return _inner(x)


def _inner(x: int) -> int:
    raise KeyError(f"no {x}")


def _get(url: str) -> dict:
    import json
    import urllib.request

    with urllib.request.urlopen(url, timeout=20) as answer:
        return json.loads(answer.read())
