"""Where an app is called: files first, then the control plane."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import callmesh as flyte
from callmesh import endpoint, settings
from callmesh._places import Place
from callmesh.errors import AppNotFoundError
from callmeshpb.v1 import scheduler_pb2

front = flyte.app.AppEnvironment(name="front", args=["true"])


def test_a_workload_reads_its_nodes_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "endpoints.json"
    file.write_text(
        json.dumps({"front": "http://127.0.0.1:1", "front--d--p": "http://127.0.0.1:2"})
    )
    monkeypatch.setenv("CALLMESH_WORKLOAD_SOCKET", "/run/w.sock")
    monkeypatch.setenv("CALLMESH_ENDPOINTS_FILE", str(file))
    settings._current = None
    assert front.endpoint == "http://127.0.0.1:1"
    monkeypatch.setenv("CALLMESH_PROJECT", "p")
    monkeypatch.setenv("CALLMESH_DOMAIN", "d")
    assert front.endpoint == "http://127.0.0.1:2"
    draft = tmp_path / "draft"
    draft.write_text(json.dumps({"front--d--p": "http://127.0.0.1:33"}))
    draft.replace(file)
    assert front.endpoint == "http://127.0.0.1:33"
    other = flyte.app.AppEnvironment(name="other", args=["true"])
    with pytest.raises(AppNotFoundError, match=r"`other` is not deployed .*do: `front--d--p`"):
        _ = other.endpoint


def test_beside_a_local_mesh_its_file_is_read(mesh: Any, tmp_path: Path) -> None:
    (tmp_path / "endpoints.json").write_text(json.dumps({"front": "http://127.0.0.1:7"}))
    place = Place(mesh.target, "", "a test", str(tmp_path))
    settings.use(settings.Settings(mode=settings.REMOTE, place=place))
    assert front.endpoint == "http://127.0.0.1:7"
    assert mesh.calls == []


def test_elsewhere_the_control_plane_is_asked_once_in_a_while(mesh: Any) -> None:
    endpoint._asked.clear()
    app = scheduler_pb2.App(endpoint="http://127.0.0.1:9", url="http://front.mesh/")
    mesh.apps["front"] = [app]
    assert front.endpoint == "http://127.0.0.1:9"
    assert front.endpoint == "http://127.0.0.1:9"
    assert mesh.calls == ["SchedulerService/GetApp"]
    del mesh.apps["front"]
    endpoint._asked.clear()
    with pytest.raises(AppNotFoundError, match="`front` is not deployed in project `default`"):
        _ = front.endpoint


async def test_it_may_be_asked_for_inside_a_loop(mesh: Any) -> None:
    endpoint._asked.clear()
    mesh.apps["front"] = [scheduler_pb2.App(endpoint="http://127.0.0.1:9")]
    assert front.endpoint == "http://127.0.0.1:9"
