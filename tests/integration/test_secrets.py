"""Secrets from the store to a workload: never in clear on disk, in argv, in logs or in answers."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import psutil
import pytest
from mesh import Mesh, command, eventually

pytestmark = pytest.mark.slow

PROJECT = "tests/integration/projects/secrets_of.py"
NAMES = {
    "plain-key": "PLAIN_KEY",
    "bank.token": "BANK_TOKEN",
    "cert": "cert",
    "tls.cert": "tls/cert",
    "both": "BOTH",
}


def value(name: str, turn: int) -> str:
    return f"S3CRET-{name}-{turn}-abcdefghij"


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def expected(turn: int) -> dict[str, str]:
    found = {shown: digest(value(name, turn)) for name, shown in NAMES.items()}
    return found | {"deep/both.pem": found["BOTH"], "import": found["PLAIN_KEY"]}


def create(mesh: Mesh, turn: int) -> None:
    for name in NAMES:
        mesh.cli("create", "secret", name, stdin=value(name, turn))


def shown(mesh: Mesh) -> dict[str, Any]:
    status, body = mesh.get("secrets-app")
    assert status == 200, body
    return dict(json.loads(body))


def run(mesh: Mesh) -> Any:
    done = mesh.cli("run", "deployed-task", "secrets-tasks.there", "-o", "json")
    return json.loads(done.stdout)["outputs"]


def places_of(mesh: Mesh, needle: bytes) -> list[str]:
    """Where a value can be read that should not be: files, argument lists, answers."""
    files = [path for path in mesh.state.rglob("*") if path.is_file()]
    found = [str(path) for path in files if needle in path.read_bytes()]
    found += [
        f"argv of {p.pid}" for p in psutil.process_iter() if needle.decode() in str(command(p))
    ]
    for arguments in (
        ("get", "secrets"),
        ("describe", "app", "secrets-app"),
        ("logs", "app/secrets-app"),
        ("get", "app", "secrets-app", "-o", "json"),
        ("get", "runs", "-o", "json"),
    ):
        if needle.decode() in mesh.cli(*arguments).stdout:
            found.append(" ".join(arguments))
    return found


def switch(mesh: Mesh, folder: Path, verb: str) -> None:
    script = folder / "switch.py"
    script.write_text(
        "import callmesh\ncallmesh.init_from_config()\n"
        f"callmesh.remote.App.get('secrets-app').{verb}(wait=True)\n"
    )
    mesh.python(script)


def test_secrets_of_apps_and_tasks(mesh: Mesh, tmp_path: Path) -> None:
    missing = mesh.cli("deploy", PROJECT, check=False)
    assert missing.returncode == 1
    assert "secret `plain-key`" in missing.stderr
    assert "callmesh create secret plain-key" in " ".join(missing.stderr.split())

    create(mesh, 1)
    told = " ".join(mesh.cli("deploy", PROJECT).stderr.split())
    assert "`$CALLMESH_SECRETS_DIR/tls/cert`" in told
    first = shown(mesh)
    folder = Path(first.pop("folder"))
    assert first == run(mesh) == expected(1)
    for file in (folder / "cert", folder / "tls" / "cert", folder / "deep" / "both.pem"):
        assert file.stat().st_mode & 0o777 == 0o600
        assert file.parent.stat().st_mode & 0o777 == 0o700
    if os.access("/dev/shm", os.W_OK):
        assert folder.is_relative_to("/dev/shm"), "in memory"
    for name in NAMES:
        assert places_of(mesh, value(name, 1).encode()) == []

    # A changed secret: runs from now on have it, an instance has it after its next start.
    create(mesh, 2)
    assert run(mesh) == expected(2)
    assert {**shown(mesh), "folder": ""} == {**expected(1), "folder": ""}
    switch(mesh, tmp_path, "deactivate")
    eventually(20, "its files are gone with it", lambda: not folder.exists())
    switch(mesh, tmp_path, "activate")
    second = shown(mesh)
    again = Path(second.pop("folder"))
    assert second == expected(2)
    pid = mesh.json("get", "app", "secrets-app")["instances"][0]["pid"]
    psutil.Process(pid).kill()
    eventually(30, "it is back", lambda: mesh.get("secrets-app")[0] == 200)
    assert shown(mesh)["cert"] == expected(2)["cert"]
    mesh.cli("delete", "app", "secrets-app")
    eventually(20, "its files are gone", lambda: not again.exists())
