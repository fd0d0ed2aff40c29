"""How an instance becomes ready, and what is said when it does not."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest
from mesh import Mesh, eventually

pytestmark = pytest.mark.slow

COMMAND = """
import callmesh as flyte
env = flyte.app.AppEnvironment(
    name="{name}", args=[{args}], port={port}, requires_auth=False, include=["{server}"],
    timeouts=flyte.app.Timeouts(startup={startup}),
)
"""
SERVER = """
import http.server, os, sys
host, port = sys.argv[1], int(sys.argv[2])
print("listening on", port, flush=True)
http.server.ThreadingHTTPServer((host, port), http.server.SimpleHTTPRequestHandler).serve_forever()
"""


def command(folder: Path, name: str, args: str, *, port: int = 8080, startup: int = 20) -> str:
    (folder / "server.py").write_text(SERVER)
    path = folder / f"{name.replace('-', '_')}_app.py"
    path.write_text(
        COMMAND.format(name=name, args=args, port=port, startup=startup, server="server.py")
    )
    return str(path)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_program_gets_its_port(shared_mesh: Mesh, tmp_path: Path) -> None:
    shared_mesh.cli(
        "deploy", command(tmp_path, "given", '"python", "server.py", "127.0.0.1", "$PORT"')
    )
    assert shared_mesh.get("given")[0] == 200
    instance = shared_mesh.json("get", "app", "given")["instances"][0]
    assert instance["port"] != 8080


def test_a_hard_coded_port_is_found_and_replaced_stop_then_start(
    shared_mesh: Mesh, tmp_path: Path
) -> None:
    port = free_port()
    args = f'"python", "server.py", "127.0.0.1", "{port}"'
    told = shared_mesh.cli("deploy", command(tmp_path, "fixed", args, port=port)).stderr
    assert str(port) in told
    assert shared_mesh.get("fixed")[0] == 200
    shared_mesh.cli("deploy", command(tmp_path, "fixed", args + ', "again"', port=port))
    app = shared_mesh.json("get", "app", "fixed")
    assert (app["revision"], app["state"]) == (2, "ready")
    assert [i["port"] for i in app["instances"]] == [port]


def test_a_taken_hard_coded_port_names_its_holder(shared_mesh: Mesh, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = shared_mesh.cli(
            "deploy",
            command(
                tmp_path, "beaten", f'"python", "server.py", "127.0.0.1", "{port}"',
                port=port, startup=3,
            ),
            check=False,
        )  # fmt: skip
    assert done.returncode == 1
    told = " ".join(done.stderr.split())
    assert f"{port}" in told
    assert "pytest" in told or "process" in told
    shared_mesh.cli("delete", "app", "beaten")


def test_an_app_that_never_listens_fails_at_its_start_limit(
    shared_mesh: Mesh, tmp_path: Path
) -> None:
    began = time.monotonic()
    done = shared_mesh.cli(
        "deploy",
        command(tmp_path, "deaf", '"echo", "I only talk;", "sleep", "60"', startup=2),
        check=False,
    )
    assert done.returncode == 1
    assert time.monotonic() - began < 20
    assert "I only talk" in done.stderr
    told = shared_mesh.cli("describe", "app", "deaf").stdout
    assert "I only talk" in told
    shared_mesh.cli("delete", "app", "deaf")


def test_an_app_that_ends_at_once_says_so(shared_mesh: Mesh, tmp_path: Path) -> None:
    done = shared_mesh.cli(
        "deploy", command(tmp_path, "brief", '"echo", "done already"'), check=False
    )
    assert done.returncode == 1
    assert "done already" in done.stderr
    assert "exit code 0" in done.stderr
    shared_mesh.cli("delete", "app", "brief")


def test_an_app_that_listens_everywhere_is_told_as_exposed(
    shared_mesh: Mesh, tmp_path: Path
) -> None:
    shared_mesh.cli(
        "deploy", command(tmp_path, "open-wide", '"python", "server.py", "0.0.0.0", "$PORT"')
    )
    assert "loopback" in shared_mesh.cli("describe", "app", "open-wide").stdout


HEALTH = """
import os
from pathlib import Path
import callmesh as flyte
from callmesh.app.extras import FastAPIAppEnvironment
from fastapi import FastAPI, HTTPException
app = FastAPI()
env = FastAPIAppEnvironment(name="moody", app=app, health_path="/mood", requires_auth=False)

@app.get("/mood")
async def mood() -> str:
    if Path({mark!r}).exists():
        raise HTTPException(503, "not now")
    return "fine"
"""


def test_a_failing_health_path_takes_an_instance_out_and_back(
    shared_mesh: Mesh, tmp_path: Path
) -> None:
    mark = tmp_path / "bad-mood"
    file = tmp_path / "moody_app.py"
    file.write_text(HEALTH.format(mark=str(mark)))
    shared_mesh.cli("deploy", str(file))
    mark.touch()

    def ready() -> int:
        return int(shared_mesh.json("get", "app", "moody")["replicas"]["ready"])

    eventually(20, "it is out of rotation", lambda: ready() == 0)
    status, body = shared_mesh.get("moody", "/mood")
    assert status == 503
    assert "moody" in body
    mark.unlink()
    eventually(20, "it is back", lambda: ready() == 1)
    assert shared_mesh.get("moody", "/mood")[0] == 200


def test_a_taken_mesh_port_is_a_condition_of_the_node(mesh: Mesh, tmp_path: Path) -> None:
    file = command(tmp_path, "blocked", '"python", "server.py", "127.0.0.1", "$PORT"')
    mesh.cli("deploy", file)
    port = int(mesh.json("get", "app", "blocked")["endpoint"].rsplit(":", 1)[1])
    mesh.down()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        mesh.up()

        def conflict() -> str:
            node = mesh.json("get", "nodes")[0]
            return " ".join(c["message"] for c in node["conditions"] if c["type"] == "PortConflict")

        told = eventually(15, "the node says so", conflict)
        assert str(port) in told
    eventually(15, "the port is taken back", lambda: not conflict())
    assert eventually(15, "it answers", lambda: mesh.get("blocked")[0] == 200)
