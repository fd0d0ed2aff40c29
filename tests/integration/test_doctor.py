"""`doctor` on machines and meshes that are broken for real."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from mesh import Mesh, eventually

pytestmark = pytest.mark.slow


def _examined(mesh: Mesh) -> tuple[int, dict[str, list[dict[str, Any]]]]:
    done = mesh.cli("doctor", "-o", "json", check=False)
    found: dict[str, list[dict[str, Any]]] = {}
    answer = json.loads(done.stdout)
    assert answer["ok"] == (done.returncode == 0)
    for each in answer["findings"]:
        found.setdefault(each["level"], []).append(each)
    return done.returncode, found


def _said(found: dict[str, list[dict[str, Any]]]) -> str:
    return "\n".join(each["message"] for each in found.get("problem", ()))


def test_a_mesh_that_runs_and_an_app_that_does_not(shared_mesh: Mesh, tmp_path: Path) -> None:
    code, found = _examined(shared_mesh)
    oks = "\n".join(f"{each['check']} {each['message']}" for each in found["ok"])
    assert "envoy 1." in oks
    assert f"port {shared_mesh.record['api_port']} for the API is the running mesh's" in oks
    assert f"port {shared_mesh.record['ingress_port']} for browsers is the running" in oks
    assert "answers, version" in oks and "node `local` is ready" in oks
    shown = shared_mesh.cli("doctor", check=False).stdout
    prose = [line for line in shown.splitlines() if "`" not in line]
    assert prose and max(map(len, prose)) <= 80
    file = tmp_path / "sick.py"
    file.write_text(
        "from callmesh.app import AppEnvironment\n"
        "env = AppEnvironment(name='doctor-sick', args=['echo ill; exit 4'])\n"
    )
    shared_mesh.cli("deploy", str(file), check=False)
    code, found = _examined(shared_mesh)
    assert code == 1
    (problem,) = [each for each in found["problem"] if "doctor-sick" in each["message"]]
    assert "exit code 4" in problem["message"] or "4" in problem["message"]
    assert "callmesh logs app/doctor-sick" in problem["remedy"]
    shared_mesh.cli("delete", "app", "doctor-sick")


def test_what_a_killed_mesh_has_left(mesh: Mesh) -> None:
    mesh.process("up").send_signal(signal.SIGKILL)
    eventually(10, "it is dead", lambda: "callmesh_up" not in str(mesh.processes()))
    code, found = _examined(mesh)
    assert code == 1
    assert "processes of a mesh that was killed run still" in _said(found)
    mesh.up()
    assert "killed" not in _said(_examined(mesh)[1])


def test_folders_that_are_broken(tmp_path: Path) -> None:
    mesh = Mesh(state=tmp_path / "callmesh" / "default")
    code, found = _examined(mesh)
    assert [each["check"] for each in found["note"]] == ["state", "mesh"]
    (mesh.state / "server").mkdir(parents=True)
    mesh.state.chmod(0o755)
    with sqlite3.connect(mesh.state / "server" / "mesh.db") as store:
        store.execute("CREATE TABLE alembic_version (version_num TEXT)")
        store.execute("INSERT INTO alembic_version VALUES ('9999')")
    code, found = _examined(mesh)
    assert code == 1
    assert "(mode 755)" in _said(found) and "schema 9999" in _said(found)
    if os.getuid():
        mesh.state.chmod(0o500)
        assert "cannot be written to" in _said(_examined(mesh)[1])
        mesh.state.chmod(0o700)


def test_settings_that_are_broken(tmp_path: Path) -> None:
    long = tmp_path / ("x" * 100)
    long.mkdir()
    broken = tmp_path / "envoy"
    broken.write_text("#!/bin/sh\necho no such library >&2\nexit 127\n")
    broken.chmod(0o755)
    variables = {
        "XDG_RUNTIME_DIR": str(long),
        "CALLMESH_ENVOY": str(broken),
        "http_proxy": "http://proxy:1",
        "no_proxy": "",
        "CALLMESH_ENDPOINT": "127.0.0.1:9",
    }
    mesh = Mesh(state=tmp_path / "callmesh" / "default", variables=variables)
    code, found = _examined(mesh)
    assert code == 1
    said = _said(found)
    assert "too long for Unix sockets" in said
    assert "does not run: no such library" in said
    assert "`127.0.0.1:9`" in said
    assert any("`http_proxy` would catch" in each["message"] for each in found["warning"])


def test_who_holds_a_port_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            taken.bind(("127.0.0.1", 7433))
        except OSError:
            wanted = "port 7433 for the API is held by"
        else:
            taken.listen()
            wanted = f"port 7433 for the API is held by process {os.getpid()}"
        _, found = _examined(Mesh(state=tmp_path / "callmesh" / "default"))
    assert wanted in _said(found)


def test_a_person_reads_each_with_its_state_first(shared_mesh: Mesh) -> None:
    done = shared_mesh.cli("doctor", check=False)
    lines = done.stdout.splitlines()
    first = [line for line in lines if not line.startswith(" ")]
    assert {line.split()[0] for line in first} <= {"ok", "note", "warning", "problem"}
    assert "problem" in done.stderr.splitlines()[-1]
