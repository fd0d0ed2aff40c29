"""`io.File`, `io.Dir`, `io.DataFrame` and large values on a real mesh, and in local mode."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from mesh import Mesh

PROJECTS = Path(__file__).parent / "projects"
FILE = str(PROJECTS / "files.py")
HEAD = f"""
import sys
sys.path.insert(0, {str(PROJECTS)!r})
from pathlib import Path
import pandas as pd
import callmesh as flyte
from callmesh.io import DataFrame, Dir, File
from callmesh.remote import Run, Task
import files
"""
LOOK = {
    "walked": ["one.txt", "sub/deep/three.bin", "two.txt"],
    "listed": ["one.txt", "two.txt"],
    "text": "one",
    "copied": ["one.txt", "sub/deep/three.bin", "two.txt"],
    "missing": None,
}
PARENT = {"read": "hello", "sync": "hello", "look": LOOK, "nested": ["hello", "hello"]}


def script(mesh: Mesh, tmp_path: Path, body: str) -> str:
    path = tmp_path / "script.py"
    path.write_text(f"{HEAD}\nflyte.init_from_config()\n{body}")
    return mesh.python(path)


@pytest.fixture
def website() -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = self.path == "/data/words.txt"
            self.send_response(200 if found else 404)
            self.end_headers()
            if found and self.command == "GET":
                self.wfile.write(b"from the web")

        do_HEAD = do_GET  # noqa: N815 - the name that the base class asks for

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_files_and_folders_pass_from_task_to_task(shared_mesh: Mesh) -> None:
    done = shared_mesh.cli("run", FILE, "parent")
    assert json.loads(done.stdout) == PARENT


def test_copies_without_a_place_go_with_their_attempt(shared_mesh: Mesh) -> None:
    places = [Path(each) for each in json.loads(shared_mesh.cli("run", FILE, "copied").stdout)]
    assert len(places) == 3
    until = time.monotonic() + 30
    while any(each.parent.exists() for each in places):
        assert time.monotonic() < until, places
        time.sleep(0.05)


def test_a_script_sends_and_gets_files(shared_mesh: Mesh, tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("words")
    body = f"""
import asyncio
file = File.from_local_sync({str(tmp_path / "words.txt")!r})
print(flyte.run(files.read, file).result())
run = flyte.run(files.write, "written")
run.wait()
got = Run.get(run.name).outputs()[0]
print(type(got).__name__, got.name, got.exists_sync(), Path(got.download_sync()).read_text())
flyte.deploy(files.env)
print(flyte.run(Task.get("files.read"), file=got).result())
folder = flyte.run(files.make_folder).result()
print([each.name for each in folder.walk_sync(file_pattern="*.txt")], folder.exists_sync())
print(folder.get_file_sync("sub/deep/three.bin").size)
print(flyte.run(files.total, flyte.run(files.frame, 4).result()).result())
print(flyte.run(files.total, DataFrame.from_df(pd.DataFrame({{"a": [5]}}))).result())
print(File.from_existing_remote("callmesh://" + "0" * 64).exists_sync())
async def main():
    file = await File.from_local({str(tmp_path / "words.txt")!r})
    async with file.open() as opened:
        print([line async for line in opened])
asyncio.run(main())
"""
    assert script(shared_mesh, tmp_path, body).splitlines() == [
        "words",
        "File a.txt True written",
        "written",
        "['one.txt', 'two.txt'] True",
        "2",
        "6",
        "5",
        "False",
        "[b'words']",
    ]


def test_the_web_is_read_where_the_task_runs(
    shared_mesh: Mesh, tmp_path: Path, website: str
) -> None:
    body = f"""
there, missing = (File.from_existing_remote({website!r} + each) for each in
                  ("/data/words.txt", "/nothing"))
print(there.name, flyte.run(files.read, there).result())
print(there.exists_sync(), missing.exists_sync())
for location in ({website!r} + "/nothing", "s3://bucket/key", "/nowhere/at/all"):
    try:
        flyte.run(files.read_sync, File.from_existing_remote(location)).result()
    except flyte.errors.RuntimeUserError as problem:
        print(problem.type, problem.message)
"""
    assert script(shared_mesh, tmp_path, body).splitlines() == [
        "words.txt from the web",
        "True False",
        f"NotFoundError `{website}/nothing` answered 404 Not Found",
        (
            "InvalidArgumentError `s3://bucket/key` cannot be read: callmesh reads paths, "
            "`http://` and `https://`; read `s3://` with its own library in a task, and hand on "
            "the result"
        ),
        "NotFoundError there is no file `/nowhere/at/all` on this machine",
    ]


@pytest.mark.slow
def test_a_large_file_is_never_held_whole(shared_mesh: Mesh, tmp_path: Path) -> None:
    body = """
file, peak = flyte.run(files.big, 256).result()
import hashlib
with open(file.download_sync(), "rb") as opened:
    print(file.size, hashlib.file_digest(opened, "sha256").hexdigest() == file.hash)
print(peak)
"""
    size, peak = script(shared_mesh, tmp_path, body).splitlines()
    assert size == f"{256 << 20} True"
    assert int(peak) < 256 + 64  # with pandas imported


def test_values_over_the_inline_limit_go_by_reference(shared_mesh: Mesh, tmp_path: Path) -> None:
    body = """
run = flyte.run(files.large, 11_000_000)
print(len(run.outputs()[0]), len(Run.get(run.name).outputs()[0]))
print(flyte.run(files.length, run.outputs()[0]).result())
"""
    assert script(shared_mesh, tmp_path, body).splitlines() == ["11000000 11000000", "11000000"]


def test_local_mode_has_files_and_large_values(tmp_path: Path) -> None:
    path = tmp_path / "script.py"
    path.write_text(
        f"{HEAD}\nprint(flyte.run(files.parent).result())\n"
        "print(len(flyte.run(files.large, 11_000_000).result()))\n"
        "print(flyte.run(files.total, flyte.run(files.frame, 4).result()).result())\n"
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith("CALLMESH_")}
    done = subprocess.run(
        [sys.executable, path],
        env={**environment, "XDG_STATE_HOME": str(tmp_path / "state")},
        capture_output=True,
        text=True,
        timeout=90,
        check=True,
    )
    assert done.stdout.splitlines() == [str(PARENT), "11000000", "6"]
    kept = tmp_path / "state" / "callmesh" / "default" / "local-mode" / "files"
    assert all(hashlib.sha256(f.read_bytes()).hexdigest() == f.name for f in kept.iterdir())
    with Mesh(state=kept.parent.parent).running() as mesh:
        assert mesh.json("run", FILE, "length", "--text", "abc")["outputs"] == 3


def test_an_app_finds_files_and_folders_as_parameters(shared_mesh: Mesh, tmp_path: Path) -> None:
    (tmp_path / "source.txt").write_text("plain")
    written = json.loads(
        shared_mesh.cli("run", FILE, "write", "--content", "hi", "-o", "json").stdout
    )
    assert written["phase"] == "succeeded"
    folder = json.loads(shared_mesh.cli("run", FILE, "make_folder", "-o", "json").stdout)
    shared_mesh.variables |= {"FILES_MOUNT": str(tmp_path), "FILES_RUN": folder["name"]}
    try:
        shared_mesh.cli("deploy", FILE, "app")
    finally:
        shared_mesh.variables.clear()
    status, body = shared_mesh.get("files-app")
    assert (status, json.loads(body)) == (
        200,
        {
            "plain": "plain",
            "placed": f"{tmp_path}/in/a.txt",
            "content": "hi",
            "folder": ["one.txt", "sub/deep/three.bin"],
            "reference": "hi",
        },
    )
    shared_mesh.cli("delete", "app", "files-app")
