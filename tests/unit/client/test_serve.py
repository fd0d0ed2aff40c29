"""App instances as real processes on an inherited socket."""

from __future__ import annotations

import base64
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from callmeshpb.v1 import workload_pb2

ASGI = """
import asyncio
from contextlib import asynccontextmanager
from fastapi import FastAPI, WebSocket
from callmesh.app.extras import FastAPIAppEnvironment

@asynccontextmanager
async def lifespan(app):
    print("lifespan up")
    yield
    print("lifespan down")

app = FastAPI(lifespan=lifespan)
env = FastAPIAppEnvironment(name="web", app=app)

@app.get("/hello")
async def hello() -> dict:
    return {"hello": "you"}

@app.get("/slow")
async def slow() -> dict:
    print("slow began")
    await asyncio.sleep(0.5)
    return {"slow": True}

@app.websocket("/ws")
async def ws(socket: WebSocket):
    await socket.accept()
    await socket.receive_text()

@env.on_shutdown
def down():
    print("hook down")
"""

HOOKS = """
import time, asyncio, os
import callmesh as flyte

env = flyte.app.AppEnvironment(
    name="served",
    parameters=[flyte.app.Parameter(name="greeting", value="hi")],
)

@env.on_startup
async def up(greeting: str):
    print("up", greeting)

{server}

@env.on_shutdown
{hook}down(**kwargs):
    print("down", kwargs)
"""

SYNC_SERVER = """
@env.server
def serve(greeting):
    print("serving", greeting)
    try:
        time.sleep(30)
    finally:
        print("finally")
"""

ASYNC_SERVER = """
@env.server
async def serve(greeting):
    print("serving", greeting)
    try:
        await asyncio.sleep(30)
    finally:
        print("finally")
"""

UVICORN_SERVER = """
async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"mine"})

@env.server
async def serve():
    import uvicorn
    config = uvicorn.Config(app, port=env.get_port(), log_level="warning", lifespan="off")
    server = uvicorn.Server(config)
    print("serving")
    await server.serve()
    print("served")
"""

UVICORN_RUN = UVICORN_SERVER.replace("async def serve", "def serve").replace(
    "await server.serve()", "server.run()"
)


class App:
    """An instance process and its log."""

    def __init__(self, folder: Path, module: str, *, inherit: bool) -> None:
        (folder / "user_module.py").write_text(module)
        self.log = folder / "log"
        start = workload_pb2.WorkloadStart(directory=str(folder))
        start.app.instance_id = "web-1-abcde"
        start.app.code.module = "user_module"
        start.app.code.attribute = "env"
        start.app.listen_fd = -1
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            self.port = listener.getsockname()[1]
            if inherit:
                listener.listen(128)
            environment = {
                "PATH": os.environ["PATH"],
                "PORT": str(self.port),
                "PYTHONUNBUFFERED": "1",
                "CALLMESH_START": base64.b64encode(start.SerializeToString()).decode(),
                "CALLMESH_PARAMETERS": json.dumps({"greeting": "hi"}),
            }
            if inherit:
                environment["CALLMESH_LISTEN_FD"] = str(listener.fileno())
            with self.log.open("wb") as log:
                self.process = subprocess.Popen(
                    [sys.executable, "-m", "callmesh.serve"],
                    env=environment,
                    cwd=folder,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=(listener.fileno(),) if inherit else (),
                )

    def get(self, path: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read()

    def lines(self) -> list[str]:
        return self.log.read_text().splitlines()

    def wait_for(self, line: str) -> None:
        while line not in self.lines():
            with pytest.raises(subprocess.TimeoutExpired):
                self.process.wait(0.02)

    def terminate(self) -> int:
        self.process.terminate()
        return self.process.wait(10)


@pytest.fixture
def apps() -> Iterator[list[App]]:
    started: list[App] = []
    yield started
    for app in started:
        app.process.kill()
        app.process.wait()


def test_calls_wait_in_the_backlog_until_the_app_serves(tmp_path: Path, apps: list[App]) -> None:
    app = App(tmp_path, ASGI, inherit=True)
    apps.append(app)
    assert app.get("/hello") == (200, b'{"hello":"you"}')
    assert app.terminate() == 128 + signal.SIGTERM
    assert [line for line in app.lines() if line in ("lifespan down", "hook down")] == [
        "lifespan down",
        "hook down",
    ]


def test_a_call_in_flight_ends_before_the_app_does(tmp_path: Path, apps: list[App]) -> None:
    app = App(tmp_path, ASGI, inherit=True)
    apps.append(app)
    answers: list[tuple[int, bytes]] = []
    caller = threading.Thread(target=lambda: answers.append(app.get("/slow")))
    caller.start()
    app.wait_for("slow began")
    assert app.terminate() == 128 + signal.SIGTERM
    caller.join(5)
    assert answers == [(200, b'{"slow":true}')]


def test_a_websocket_is_closed_with_1012(tmp_path: Path, apps: list[App]) -> None:
    from websockets.exceptions import ConnectionClosedError
    from websockets.sync.client import connect

    app = App(tmp_path, ASGI, inherit=True)
    apps.append(app)
    with connect(f"ws://127.0.0.1:{app.port}/ws") as client:
        app.process.terminate()
        with pytest.raises(ConnectionClosedError) as closed:
            client.recv()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1012
    assert app.process.wait(10) == 128 + signal.SIGTERM


@pytest.mark.parametrize("hook", ["def ", "async def "])
@pytest.mark.parametrize("server", [SYNC_SERVER, ASYNC_SERVER], ids=["sync", "async"])
def test_hooks_run_in_order_and_once_on_term(
    tmp_path: Path, apps: list[App], server: str, hook: str
) -> None:
    app = App(tmp_path, HOOKS.format(server=server, hook=hook), inherit=False)
    apps.append(app)
    app.wait_for("serving hi")
    assert app.terminate() == 128 + signal.SIGTERM
    assert app.lines() == ["up hi", "serving hi", "finally", "down {'greeting': 'hi'}"]


@pytest.mark.parametrize("server", [UVICORN_SERVER, UVICORN_RUN], ids=["async", "sync"])
def test_a_users_own_uvicorn_binds_its_port_and_ends_gracefully(
    tmp_path: Path, apps: list[App], server: str
) -> None:
    app = App(tmp_path, HOOKS.format(server=server, hook="def "), inherit=False)
    apps.append(app)
    app.wait_for("serving")
    while True:
        try:
            assert app.get("/") == (200, b"mine")
            break
        except ConnectionRefusedError:
            assert app.process.poll() is None
    assert app.terminate() == 128 + signal.SIGTERM
    assert app.lines().count("down {'greeting': 'hi'}") == 1


@pytest.mark.parametrize(
    ("module", "said"),
    [
        ("x = 1 / 0\n", "ZeroDivisionError: division by zero"),
        ("y = 1\n", "module `user_module` has no `env`"),
        ("class E:\n    name = 'a'\nenv = E()\n", "app `a` has nothing to run"),
        (
            HOOKS.format(server="@env.server\ndef serve(other): ...", hook="def "),
            "`server` takes `other`, which is not a parameter of this app: it has `greeting`",
        ),
    ],
)
def test_mistakes_end_it_with_1_and_a_sentence(
    tmp_path: Path, apps: list[App], module: str, said: str
) -> None:
    app = App(tmp_path, module, inherit=False)
    apps.append(app)
    assert app.process.wait(20) == 1
    log = app.log.read_text()
    assert said in log
    assert "_code.py" not in log


def test_a_server_function_that_returns_says_so(tmp_path: Path, apps: list[App]) -> None:
    module = HOOKS.format(server="@env.server\ndef serve(): ...", hook="def ")
    app = App(tmp_path, module, inherit=False)
    apps.append(app)
    assert app.process.wait(20) == 0
    assert "the server function returned" in app.log.read_text()
    assert "down {'greeting': 'hi'}" in app.lines()
