"""Where the mesh is looked for, and in which order."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

import callmesh as flyte
from callmesh import settings
from callmesh.errors import InitializationError


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No settings yet, an empty home, an empty working folder."""
    settings._current = None
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("CALLMESH_WORKLOAD_SOCKET", raising=False)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")


@pytest.fixture
def local_mesh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A state folder in which a mesh was started."""
    state = tmp_path / "state"
    state.mkdir()
    record = {"runtime_dir": "/run/x", "api_port": 7433, "ingress_port": 7480, "pid": 1}
    (state / "up.json").write_text(json.dumps(record))
    (state / "token").write_text("secret\n")
    monkeypatch.setenv("CALLMESH_STATE_DIR", str(state))
    return state


def config(folder: Path, text: str) -> Path:
    path = folder / ".callmesh" / "config.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    return path


def target() -> str:
    place = settings.current().place
    return place.target if place else ""


def test_nothing_said_is_local_mode(local_mesh: Path) -> None:
    assert settings.current().mode == "local"
    flyte.init()
    assert settings.current().mode == "local"
    assert not flyte.is_control_plane_available()


def test_the_environment_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALLMESH_ENDPOINT", "mesh.example.org:7433")
    assert (settings.current().mode, target()) == ("remote", "mesh.example.org:7433")


def test_init_from_config_finds_the_local_mesh(local_mesh: Path) -> None:
    flyte.init_from_config()
    assert target() == "unix:/run/x/api.sock"
    assert settings.current().place.runtime_dir == "/run/x"  # type: ignore[union-attr]


def test_the_order_of_places(
    local_mesh: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config(tmp_path / "work", "admin: {endpoint: 'dns:///from.config:1'}\ntask: {project: p}\n")
    flyte.init_from_config()
    assert (target(), settings.current().project) == ("from.config:1", "p")
    monkeypatch.setenv("CALLMESH_ENDPOINT", "from.environment:1")
    flyte.init_from_config(project="q")
    assert (target(), settings.current().project) == ("from.environment:1", "q")
    flyte.init(endpoint="from.argument:1")
    assert target() == "from.argument:1"


def test_without_any_mesh_it_stays_local_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    flyte.init_from_config()
    assert settings.current().mode == "local"
    assert "no mesh runs on the state folder `" in caplog.text
    assert "so tasks run in this process: `callmesh up` starts one" in caplog.text


def test_a_config_file_that_is_named_must_exist_and_be_one(tmp_path: Path) -> None:
    with pytest.raises(InitializationError, match="cannot be read") as caught:
        flyte.init_from_config("nothing.yaml")
    assert caught.value.code == "ConfigFileNotFoundError"
    bad = tmp_path / "bad.yaml"
    bad.write_text("- a list")
    with pytest.raises(InitializationError, match="must be a mapping"):
        flyte.init_from_config(bad)


def test_a_token_is_found_for_the_local_port(
    local_mesh: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    flyte.init(endpoint="127.0.0.1:7433")
    assert settings.current().place.token() == "secret"  # type: ignore[union-attr]
    flyte.init(endpoint="127.0.0.1:7999")
    assert settings.current().place.token() == ""  # type: ignore[union-attr]
    other = tmp_path / "other"
    other.write_text("mine")
    monkeypatch.setenv("CALLMESH_TOKEN_FILE", str(other))
    flyte.init(endpoint="127.0.0.1:7433")
    assert settings.current().place.token() == "mine"  # type: ignore[union-attr]


def test_a_workload_needs_to_be_told_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALLMESH_WORKLOAD_SOCKET", "/run/w.sock")
    monkeypatch.setenv("CALLMESH_PROJECT", "p")
    assert (settings.current().mode, settings.current().project) == ("workload", "p")
    assert flyte.init_in_cluster() == {"project": "p", "domain": "development"}
    assert asyncio.run(flyte.init_in_cluster.aio(project="q"))["project"] == "q"
    flyte.init(endpoint="elsewhere:1")
    assert settings.current().mode == "workload"


def test_a_workloads_init_starts_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    monkeypatch.setenv("CALLMESH_WORKLOAD_SOCKET", "/run/w.sock")
    before = threading.active_count()
    flyte.init_in_cluster()
    assert threading.active_count() == before


def test_bad_names_are_refused() -> None:
    with pytest.raises(ValueError, match="project `A`"):
        flyte.init(project="A")


def test_verbs_that_need_a_mesh_say_how_to_get_one() -> None:
    env = flyte.TaskEnvironment(name="lost")
    with pytest.raises(InitializationError, match="start one with `callmesh up`"):
        flyte.deploy(env)
    with pytest.raises(InitializationError, match="start one with `callmesh up`"):
        flyte.remote.Run.get("x")


def test_a_program_that_always_looks(local_mesh: Path, tmp_path: Path) -> None:
    assert settings.find().place.runtime_dir == "/run/x"  # type: ignore[union-attr]
    found = settings.find("h:1", project="p")
    assert (found.place.target, found.project) == ("h:1", "p")  # type: ignore[union-attr]
    with pytest.raises(InitializationError, match="no mesh has been started on the state folder"):
        settings.find(state_dir=tmp_path / "none")
