"""What a server function's hooks are promised at each kind of end."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from mesh import Mesh, eventually

pytestmark = pytest.mark.slow

# An async server, and one that blocks the main thread: TERM ends both.
HOOKED = """
import http.server, os, pathlib
import callmesh as flyte

MARKS = {marks!r}
env = flyte.app.AppEnvironment(
    name={name!r}, requires_auth=False, env_vars={{"VERSION": {version!r}}},
)


def mark(what):
    with pathlib.Path(MARKS).open("a") as file:
        file.write(os.environ["VERSION"] + " " + what + "\\n")


@env.on_startup
def opened():
    mark("started")


{server}


@env.on_shutdown
{kind}def closed():
    mark("stopped")
"""
BLOCKING = """
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("content-length", "3")
        self.end_headers()
        self.wfile.write(os.environ["VERSION"].encode())


@env.server
def serve():
    http.server.ThreadingHTTPServer(("127.0.0.1", env.get_port()), Handler).serve_forever()
"""
ASYNC = """
import asyncio


async def answer(reader, writer):
    await reader.readline()
    writer.write(b"HTTP/1.1 200 OK\\r\\ncontent-length: 3\\r\\nconnection: close\\r\\n\\r\\n")
    writer.write(os.environ["VERSION"].encode())
    await writer.drain()
    writer.close()


@env.server
async def serve():
    listening = await asyncio.start_server(answer, "127.0.0.1", env.get_port())
    await listening.serve_forever()
"""
KINDS = {"blocking": ("", BLOCKING), "async": ("async ", ASYNC)}


def hooked(folder: Path, name: str, version: str, kind: str) -> str:
    keyword, server = KINDS[kind]
    path = folder / f"{name.replace('-', '_')}_app.py"
    path.write_text(
        HOOKED.format(
            marks=str(folder / "marks"), name=name, version=version, server=server, kind=keyword
        )
    )
    return str(path)


def marks(folder: Path) -> list[str]:
    path = folder / "marks"
    return path.read_text().splitlines() if path.exists() else []


@pytest.mark.parametrize("kind", KINDS)
def test_hooks_run_at_a_rollout_and_at_a_deletion(
    shared_mesh: Mesh, tmp_path: Path, kind: str
) -> None:
    name = f"hooked-{kind}"
    shared_mesh.cli("deploy", hooked(tmp_path, name, "one", kind))
    shared_mesh.cli("deploy", hooked(tmp_path, name, "two", kind))
    endpoint = shared_mesh.json("get", "app", name)["endpoint"]
    assert httpx.get(endpoint, trust_env=False).text == "two"
    eventually(15, "the old one has stopped", lambda: "one stopped" in marks(tmp_path))
    shared_mesh.cli("delete", "app", name)
    assert marks(tmp_path) == ["one started", "two started", "one stopped", "two stopped"]


def test_hooks_run_at_the_end_of_the_mesh(mesh: Mesh, tmp_path: Path) -> None:
    for kind in KINDS:
        (tmp_path / kind).mkdir()
        mesh.cli("deploy", hooked(tmp_path / kind, f"ends-{kind}", "one", kind))
    mesh.down()
    for kind in KINDS:
        assert marks(tmp_path / kind) == ["one started", "one stopped"]
    mesh.up()
