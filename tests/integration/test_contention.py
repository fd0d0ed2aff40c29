"""Two who want one port: apps among themselves, and the mesh with a stranger."""

from __future__ import annotations

import os
import socket
import time
import urllib.request
from pathlib import Path

import pytest
from mesh import Mesh, eventually
from mirror import mirror

pytestmark = pytest.mark.slow

FIXED = """
import callmesh as flyte
env = flyte.app.AppEnvironment(
    name={name!r}, args=["python", "-m", "http.server", "--bind", "127.0.0.1", "{port}"],
    port={port}, requires_auth=False, timeouts=flyte.app.Timeouts(startup=5),
)
"""


def fixed(folder: Path, name: str, port: int) -> str:
    path = folder / f"{name.replace('-', '_')}_app.py"
    path.write_text(FIXED.format(name=name, port=port))
    return str(path)


def test_the_second_app_with_a_port_is_told_who_has_it(shared_mesh: Mesh, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    shared_mesh.cli("deploy", fixed(tmp_path, "port-first", port))
    began = time.monotonic()
    done = shared_mesh.cli("deploy", fixed(tmp_path, "port-second", port), check=False)
    assert done.returncode == 1
    assert 4 < time.monotonic() - began < 30
    said = " ".join(done.stderr.split())
    assert f"port {port}" in said
    assert "port-first" in said
    assert shared_mesh.get("port-first")[0] == 200
    shared_mesh.cli("delete", "app", "port-first")
    eventually(
        30,
        "the second has the port once it is free",
        lambda: shared_mesh.get("port-second")[0] == 200,
    )
    shared_mesh.cli("delete", "app", "port-second")


def test_the_same_deploy_succeeds_once_a_stranger_has_left(
    shared_mesh: Mesh, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        port = stranger.getsockname()[1]
        file = fixed(tmp_path, "patient", port)
        done = shared_mesh.cli("deploy", file, check=False)
        assert done.returncode == 1
        assert f"held by process {os.getpid()}" in " ".join(done.stderr.split())
    shared_mesh.cli("deploy", file)
    app = shared_mesh.json("get", "app", "patient")
    assert (app["state"], app["revision"]) == ("ready", 2)


def test_a_new_app_gets_another_port_than_a_strangers(shared_mesh: Mesh, tmp_path: Path) -> None:
    file = mirror(tmp_path, "evading")
    shared_mesh.cli("deploy", file)
    before = shared_mesh.json("get", "app", "evading")["endpoint"]
    port = int(before.rsplit(":", 1)[1])
    shared_mesh.cli("delete", "app", "evading")
    with eventually(10, "Envoy has let go of the port", lambda: bound(port)):
        # Its own port again, if it were free.
        shared_mesh.cli("deploy", file)
        after = shared_mesh.json("get", "app", "evading")["endpoint"]
        assert after != before
        with urllib.request.urlopen(after, timeout=10) as answer:
            assert answer.status == 200
        eventually(15, "nothing is wrong with the node", lambda: not conflict(shared_mesh))


def bound(port: int) -> socket.socket | None:
    try:
        return socket.create_server(("127.0.0.1", port))
    except OSError:
        return None


def conflict(mesh: Mesh) -> str:
    node = mesh.json("get", "nodes")[0]
    return " ".join(c["message"] for c in node["conditions"] if c["type"] == "PortConflict")
