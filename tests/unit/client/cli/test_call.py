"""`callmesh call`, against an HTTP server of the test's."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from callmesh.cli import main as program
from callmeshpb.v1 import scheduler_pb2

Capture = pytest.CaptureFixture[str]


class Echo(BaseHTTPRequestHandler):
    """Answers with what it was sent."""

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        said = {
            "method": self.command,
            "path": self.path,
            "body": body.decode(),
            "type": self.headers.get("Content-Type"),
            "team": self.headers.get("X-Team"),
        }
        self.send_response({"/missing": 404, "/broken": 500}.get(self.path, 200))
        self.end_headers()
        self.wfile.write(json.dumps(said).encode())

    do_POST = do_PUT = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def echo(mesh: Any) -> Iterator[HTTPServer]:
    server = HTTPServer(("127.0.0.1", 0), Echo)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    mesh.handlers["SchedulerService/GetApp"] = lambda _: scheduler_pb2.GetAppResponse(
        app=mesh.ready_app(endpoint=f"http://127.0.0.1:{server.server_port}")
    )
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.usefixtures("echo")
def test_call_prints_the_body_alone(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert program.run(["call", "web", "hello?x=1"]) == 0
    said = capfdbinary.readouterr()
    assert json.loads(said.out)["path"] == "/hello?x=1"
    assert said.err == b""
    line = ["call", "web", "/items", "-d", '{"a": 1}', "-H", "X-Team: kettle"]
    assert program.run(line) == 0
    assert json.loads(capfdbinary.readouterr().out) == {
        "method": "POST",
        "path": "/items",
        "body": '{"a": 1}',
        "type": "application/json",
        "team": "kettle",
    }
    assert program.run(["call", "web", "/", "-X", "put", "-d", "x", "-H", "content-type:a/b"]) == 0
    found = json.loads(capfdbinary.readouterr().out)
    assert (found["method"], found["type"]) == ("PUT", "a/b")


@pytest.mark.usefixtures("echo")
def test_headers_may_come_from_a_file_or_standard_input(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "headers"
    path.write_text("X-Team: hidden:kettle\n\nContent-Type: text/plain\n")
    assert program.run(["call", "web", "/", "-H", f"@{path}"]) == 0
    found = json.loads(capfdbinary.readouterr().out)
    assert (found["team"], found["type"]) == ("hidden:kettle", "text/plain")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"X-Team: piped\n")))
    assert program.run(["call", "web", "/", "-H", "@-"]) == 0
    assert json.loads(capfdbinary.readouterr().out)["team"] == "piped"
    path.write_text("X-Team: a\nhidden\n")
    assert program.run(["call", "web", "/", "-H", f"@{path}"]) == 2
    said = capfdbinary.readouterr().err.decode()
    assert "line 2 of" in said
    assert "hidden" not in said
    assert program.run(["call", "web", "/", "-H", "@-", "-d", "-"]) == 2
    assert b"standard input can be read once" in capfdbinary.readouterr().err


@pytest.mark.usefixtures("echo")
def test_call_fails_where_the_answer_is_not_2xx(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert program.run(["call", "web", "/missing"]) == 1
    said = capfdbinary.readouterr()
    assert json.loads(said.out)["path"] == "/missing"
    assert said.err == b"error: `web` answered 404 Not Found to GET /missing\n"
    assert program.run(["call", "web", "/broken"]) == 1
    assert b"`callmesh logs web`" in capfdbinary.readouterr().err


def test_an_app_that_is_not_there_is_told(mesh: Any, capsys: Capture) -> None:
    mesh.handlers["SchedulerService/GetApp"] = lambda _: scheduler_pb2.GetAppResponse(
        app=mesh.ready_app(endpoint="http://127.0.0.1:1")
    )
    assert program.run(["call", "web", "/"]) == 1
    said = capsys.readouterr().err
    assert "`web` cannot be reached at http://127.0.0.1:1" in said
    assert "hint: `callmesh describe app web`" in said
