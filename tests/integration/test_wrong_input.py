"""State folders, control planes, ports, values and results that are not as they should be."""

from __future__ import annotations

import json
import os
import shutil
import socket
import sqlite3
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from mesh import CALLMESH, Mesh

FREE = ("--port", "0", "--ingress-port", "0")
CODE = """
import threading

import callmesh as flyte
from callmesh.app.extras import FastAPIAppEnvironment
from fastapi import FastAPI

api = FastAPI()
app = FastAPIAppEnvironment(name="wi-web", app=api, requires_auth=False)
tasks = flyte.TaskEnvironment(name="wi-tasks")


@api.get("/")
def root() -> str:
    return "here"


@tasks.task
def count(text: str) -> int:
    return len(text)


@tasks.task
def lock():
    return threading.Lock()


@tasks.task
def generator():
    return (each for each in range(3))


@tasks.task
def open_file():
    return open("written", "w")


@tasks.task
def closure():
    held = threading.Lock()
    return lambda: held
"""


@pytest.fixture(scope="module")
def deployed(shared_mesh: Mesh, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """The mesh with the code above on it."""
    file = tmp_path_factory.mktemp("wrong") / "wi_code.py"
    file.write_text(CODE)
    shared_mesh.variables["WI_FILE"] = str(file)
    shared_mesh.cli("deploy", str(file))
    yield shared_mesh
    shared_mesh.cli("delete", "app", "wi-web")


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Mesh:
    """A mesh that ran once and has ended: its state folder is there."""
    own = Mesh(state=tmp_path_factory.mktemp("ended") / "callmesh" / "default")
    own.up()
    own.down()
    return own


@pytest.mark.parametrize("task", ["lock", "generator", "open_file", "closure"])
def test_a_result_that_cannot_be_sent(deployed: Mesh, task: str) -> None:
    said = _refused(deployed, ("run", "deployed-task", task), 1)
    assert f"the result of task `{task}` cannot be sent: it is a " in said
    assert "use data instead, such as a list or a dataclass" in said


def test_a_record_that_is_damaged_is_said_and_one_of_a_newer_version_is_read(
    deployed: Mesh,
) -> None:
    record = deployed.state / "up.json"
    pid = deployed.process("up").pid
    before = record.read_text()
    newer = json.loads(before) | {"version": "99.0.0", "something": {"new": 1}}
    try:
        record.write_text(json.dumps(newer))
        assert deployed.json("get", "apps")
        ports = deployed.cli("doctor", check=False).stdout
        assert f"port {newer['api_port']}" in ports, ports
        record.write_text(before[:20])
        said = _refused(deployed, ("get", "apps"), 3)
        assert "up.json` does not say where the mesh is, it is damaged: `callmesh down`" in said
        said = _refused(deployed, ("up", "--detach", *FREE), 1)
        assert f"a mesh is already running on `{deployed.state}` (process {pid})" in said
    finally:
        record.write_text(before)


def test_down_ends_a_mesh_whose_record_is_damaged(ended: Mesh) -> None:
    ended.up()
    (ended.state / "up.json").write_text("[")
    assert "the mesh has ended" in ended.cli("down").stderr
    assert not ended.processes()


def test_a_control_plane_of_another_version(deployed: Mesh) -> None:
    server = grpc.server(ThreadPoolExecutor(2))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        said = _refused(deployed, ("get", "apps", "--endpoint", f"127.0.0.1:{port}"), 1)
    finally:
        server.stop(0)
    assert f"what answers at 127.0.0.1:{port} (from the endpoint that was given)" in said
    assert "does not know `SchedulerService/ListApps`: it is the control plane of another" in said


def test_a_store_of_a_newer_version_or_a_damaged_one(ended: Mesh) -> None:
    store = ended.state / "server" / "mesh.db"
    kept = store.with_suffix(".kept")
    shutil.copy(store, kept)
    with sqlite3.connect(store) as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    database.close()
    for detach in ((), ("--detach",)):
        said = _refused(ended, ("up", *detach, *FREE), 1)
        assert "has schema 9999, newer than" in said
        assert "install the version that wrote it, or a newer one" in said
    store.write_bytes(os.urandom(4096))
    said = _refused(ended, ("up", "--detach", *FREE), 1)
    assert "mesh.db` cannot be used: file is not a database; " in said
    for each in store.parent.glob("mesh.db*"):
        each.unlink()
    kept.rename(store)
    ended.up()
    ended.down()


def test_a_state_folder_that_is_not_this_users(ended: Mesh, tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    said = _without_privilege(ended, "up", "--detach", *FREE, "--state-dir", str(closed / "new"))
    assert f"cannot use the state folder `{closed / 'new'}`: Permission denied" in said
    assert "give it and what is in it to this user, or name another with --state-dir" in said
    for name, mode in {"agent": 0o500, "server": 0o000, "token": 0o000}.items():
        path = ended.state / name
        before = path.stat().st_mode
        path.chmod(mode)
        try:
            said = _without_privilege(ended, "up", "--detach", *FREE)
        finally:
            path.chmod(before)
        assert f"cannot use the state folder `{ended.state}`: Permission denied" in said
    store = ended.state / "server" / "mesh.db"
    store.chmod(0o400)
    try:
        said = _without_privilege(ended, "up", "--detach", *FREE)
    finally:
        store.chmod(0o600)
    assert "mesh.db` cannot be used: attempt to write a readonly database; make it this" in said
    assert not ended.processes()


def test_a_taken_port_names_its_holder(ended: Mesh) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for flag, other in (("--port", "--ingress-port"), ("--ingress-port", "--port")):
            said = _refused(ended, ("up", "--detach", flag, str(port), other, "0"), 1)
            assert f"port {port}" in said
            assert f"{os.getpid()}" in said, "its holder"
            assert flag in said
    assert not ended.processes()


def test_what_is_over_a_limit_is_said_with_the_limit(deployed: Mesh, tmp_path: Path) -> None:
    head = "import callmesh as flyte\nfrom callmesh.app import AppEnvironment, Parameter\n"
    cases = {
        "parameters=[Parameter(name='p', value='x' * 200_000)]": (
            "the parameters have 200,009 bytes, most of them `p`: must be at most 122,880; "
            "put what is long into a `File`"
        ),
        "env_vars={'A': 'x' * 200_000}": "env_vars[A]` must be at most 131,071 bytes",
        "scaling=flyte.app.Scaling(replicas=5000)": "`min_replicas`",
    }
    for number, (text, message) in enumerate(cases.items()):
        file = tmp_path / f"wi_limit_{number}.py"
        app = f"env = AppEnvironment(name='wi-limit', args=['true'], {text})\n"
        file.write_text(head + app)
        said = _refused(deployed, ("deploy", str(file)), 2)
        assert message.strip("`") in said, said
    secret = tmp_path / "secret"
    secret.write_bytes(b"x" * 2_000_000)
    said = _refused(deployed, ("create", "secret", "wi", "--from-file", str(secret)), 2)
    assert "`value` has 2,000,000 bytes: must be at most 1,048,576" in said


def test_an_unknown_host_and_an_unknown_app_at_the_ingress(deployed: Mesh) -> None:
    status, body = deployed.get("wi-nothing")
    assert (status, body.split(":")[0]) == (404, "there is no app `wi-nothing`")


def test_the_same_deploy_twice_restarts_nothing(deployed: Mesh) -> None:
    before = _pids(deployed)
    said = deployed.cli("deploy", deployed.variables["WI_FILE"]).stderr
    assert "`wi-web` is ready" in said
    assert _pids(deployed) == before


def test_of_two_deploys_at_once_the_later_one_serves(deployed: Mesh, tmp_path: Path) -> None:
    files = []
    for number in (1, 2):
        file = tmp_path / str(number) / "wi_twice.py"
        file.parent.mkdir()
        text = CODE.replace("wi-", "wi2-").replace('"here"', f'"here {number}"')
        file.write_text(text)
        files.append(file)
    both = [deployed.spawn("deploy", str(file), stderr=subprocess.PIPE) for file in files]
    for each in both:
        _, said = each.communicate(timeout=60)
        # One that was overtaken before it was ready says so.
        ready = (0, "`wi2-web` is ready") if each.returncode == 0 else (1, "was replaced by")
        assert each.returncode == ready[0] and ready[1] in said, said
    app = deployed.json("get", "app", "wi2-web")
    assert (app["revision"], app["state"]) == (2, "ready")
    assert deployed.get("wi2-web")[1] in ('"here 1"', '"here 2"')
    deployed.cli("delete", "app", "wi2-web")


def _pids(mesh: Mesh) -> list[int]:
    return [each["pid"] for each in mesh.json("get", "app", "wi-web")["instances"]]


def _refused(mesh: Mesh, arguments: tuple[str, ...], code: int) -> str:
    """The one thing that a command says; as one line."""
    done = mesh.cli(*arguments, check=False)
    assert done.returncode == code, (done.returncode, done.stderr)
    return _plain(done)


def _without_privilege(mesh: Mesh, *arguments: str) -> str:
    """The same, as a user to whom file permissions apply."""
    drop = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")
    done = subprocess.run(
        [*(drop if os.getuid() == 0 else ()), str(CALLMESH), *arguments],
        env=mesh.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    return _plain(done)


def _plain(done: Any) -> str:
    assert "Traceback" not in done.stderr, done.stderr
    assert 'File "' not in done.stderr, done.stderr
    return " ".join(done.stderr.split())
