"""Dependencies, readiness, rollouts and what stands in the way of them."""

from __future__ import annotations

import time
from pathlib import Path

import httpx
import pytest
from load import Load
from mesh import Mesh

PROJECTS = Path(__file__).parent / "projects"


def revision(folder: Path, name: str, version: str, behaviour: str = "good") -> str:
    """A file that holds the app ``name`` in this version."""
    text = (PROJECTS / "revisions.py").read_text()
    text = text.replace('VERSION = "one"', f'VERSION = "{version}"')
    text = text.replace('BEHAVIOUR = "good"', f'BEHAVIOUR = "{behaviour}"')
    text = text.replace('NAME = "rolling"', f'NAME = "{name}"')
    path = folder / f"{name.replace('-', '_')}_app.py"
    path.write_text(text)
    return str(path)


@pytest.mark.slow
def test_a_new_revision_takes_over_without_a_failed_call(shared_mesh: Mesh, tmp_path: Path) -> None:
    shared_mesh.cli("deploy", revision(tmp_path, "rolling", "one"))
    endpoint = shared_mesh.json("get", "app", "rolling")["endpoint"]
    with (
        Load(endpoint) as kept,
        Load(endpoint, keep_alive=False) as fresh,
        Load(f"{endpoint}/slow", callers=2) as slow,
    ):
        for version in ("two", "three"):
            time.sleep(0.5)
            shared_mesh.cli("deploy", revision(tmp_path, "rolling", version))
            assert httpx.get(endpoint, trust_env=False).json() == version
        time.sleep(0.5)
    assert not kept.misses + fresh.misses + slow.misses
    assert {text for _, text in kept.answers} == {'"one"', '"two"', '"three"'}
    app = shared_mesh.json("get", "app", "rolling")
    assert (app["revision"], app["state"]) == (3, "ready")


@pytest.mark.slow
def test_a_broken_revision_never_replaces_a_working_one(shared_mesh: Mesh, tmp_path: Path) -> None:
    shared_mesh.cli("deploy", revision(tmp_path, "fragile", "one"))
    endpoint = shared_mesh.json("get", "app", "fragile")["endpoint"]
    with Load(endpoint) as load:
        done = shared_mesh.cli(
            "deploy", revision(tmp_path, "fragile", "two", "crashes"), check=False
        )
        time.sleep(0.5)
    assert done.returncode == 1
    assert "cannot find the flux capacitor" in done.stderr
    assert not load.misses
    assert {text for _, text in load.answers} == {'"one"'}
    told = shared_mesh.cli("describe", "app", "fragile").stdout
    assert "cannot find the flux capacitor" in told
    assert "exit code 1" in told
    shared_mesh.cli("deploy", revision(tmp_path, "fragile", "three"))
    assert httpx.get(endpoint, trust_env=False).json() == "three"


def test_the_same_deploy_twice_restarts_nothing(shared_mesh: Mesh, tmp_path: Path) -> None:
    file = revision(tmp_path, "steady", "one")
    shared_mesh.cli("deploy", file)
    before = shared_mesh.json("get", "app", "steady")
    shared_mesh.cli("deploy", file)
    after = shared_mesh.json("get", "app", "steady")
    assert [i["pid"] for i in before["instances"]] == [i["pid"] for i in after["instances"]]
    assert after["revision"] == 1


def test_authentication_that_is_not_enforced_yet_is_said(shared_mesh: Mesh, tmp_path: Path) -> None:
    done = shared_mesh.cli("deploy", revision(tmp_path, "guarded", "one"))
    assert "requires_auth" in done.stderr
    assert "requires_auth" in shared_mesh.cli("describe", "app", "guarded").stdout


CHAIN = """
import time, os, urllib.request
import callmesh as flyte
from callmesh.app.extras import FastAPIAppEnvironment
from fastapi import FastAPI

def make(name, *needs):
    app = FastAPI()
    started = time.time()
    env = FastAPIAppEnvironment(name=name, app=app, depends_on=list(needs), requires_auth=False)
    @app.get("/")
    def when() -> float:
        return started
    return env

bottom = make("order-bottom")
middle = make("order-middle", bottom)
top = make("order-top", middle)
"""


def test_dependencies_are_ready_before_their_dependents_start(
    shared_mesh: Mesh, tmp_path: Path
) -> None:
    file = tmp_path / "order.py"
    file.write_text(CHAIN)
    shared_mesh.cli("deploy", str(file), "top")
    started = [
        httpx.get(
            shared_mesh.json("get", "app", f"order-{name}")["endpoint"], trust_env=False
        ).json()
        for name in ("bottom", "middle", "top")
    ]
    assert started == sorted(started)


def test_a_cycle_is_named(shared_mesh: Mesh, tmp_path: Path) -> None:
    file = tmp_path / "cycle.py"
    file.write_text(CHAIN + "\nbottom.add_dependency(top)\n")
    done = shared_mesh.cli("deploy", str(file), check=False)
    assert done.returncode == 2
    told = " ".join(done.stderr.split())
    assert "order-bottom → order-top → order-middle → order-bottom" in told


def test_a_dependent_waits_and_says_for_whom(shared_mesh: Mesh, tmp_path: Path) -> None:
    file = tmp_path / "waits.py"
    text = CHAIN.replace("order-", "wait-").replace(
        "def make",
        "if os.environ.get('CALLMESH_APP') == 'wait-bottom':\n    raise OSError('no')\n\ndef make",
    )
    file.write_text(text)
    done = shared_mesh.cli("deploy", str(file), "top", check=False)
    assert done.returncode == 1
    assert "wait-bottom" in done.stderr
    told = shared_mesh.cli("describe", "app", "wait-top").stdout
    assert "wait-middle" in told
    for name in ("top", "middle", "bottom"):
        shared_mesh.cli("delete", "app", f"wait-{name}")


def test_an_app_that_crashes_later_backs_off_and_says_why(
    shared_mesh: Mesh, tmp_path: Path
) -> None:
    file = tmp_path / "loops.py"
    file.write_text(
        CHAIN.replace("order-", "loop-")
        + """
import threading
if os.environ.get("CALLMESH_APP") == "loop-bottom":
    def die():
        time.sleep(0.4)
        print("the disk is on fire", flush=True)
        os._exit(7)
    threading.Thread(target=die).start()
"""
    )
    shared_mesh.cli("deploy", str(file), "bottom", check=False)
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        app = shared_mesh.json("get", "app", "loop-bottom")
        if any(i["restarts"] >= 2 for i in app["instances"]):
            break
        time.sleep(0.1)
    told = shared_mesh.cli("describe", "app", "loop-bottom").stdout
    assert "exit code 7" in told
    assert "the disk is on fire" in told
    shared_mesh.cli("delete", "app", "loop-bottom")
