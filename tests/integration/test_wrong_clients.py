"""Garbage, slow and half-open clients on every port and socket: others go on being served."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from mesh import Mesh, eventually

CODE = """
import callmesh as flyte
from callmesh.app.extras import FastAPIAppEnvironment
from fastapi import FastAPI

api = FastAPI()
app = FastAPIAppEnvironment(name="wc-web", app=api, requires_auth=False)
tasks = flyte.TaskEnvironment(name="wc-tasks")


@api.get("/")
def root() -> str:
    return "here"


@tasks.task
def wc_add(x: int) -> int:
    return x + 1
"""
GARBAGE = {
    "random": os.urandom(64 << 10),
    "zeros": bytes(64 << 10),
    "ones": b"\xff" * (64 << 10),
    "a long length": b"\x7f\xff\xff\xff" + bytes(1000),
    "a frame too long by one": ((64 << 20) + 1).to_bytes(4, "big") + bytes(1000),
    "http": b"GET / HTTP/1.1\r\nHost: " + b"x" * 60_000 + b"\r\n\r\n",
    "http2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff\xff\xff\x00\x00\x00\x00\x00\x01" * 50,
    "tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + os.urandom(508),
}
ROOM = 64 << 20
SLOW = 100

Place = str | tuple[str, int]


@pytest.fixture(scope="module")
def wc(file_mesh: Mesh, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """The mesh with the code above on it."""
    file = tmp_path_factory.mktemp("clients") / "wc_code.py"
    file.write_text(CODE)
    file_mesh.cli("deploy", str(file))
    _everybody_is_served(file_mesh)
    yield file_mesh
    file_mesh.cli("delete", "app", "wc-web")


def test_garbage_ends_nothing_and_takes_no_memory(wc: Mesh) -> None:
    before = _memory(wc)
    places = _places(wc)
    for place in places:
        for bytes_ in GARBAGE.values():
            _throw(place, bytes_)
    _everybody_is_served(wc)
    # A zygote's spare is replaced in the course of things: see `_memory`.
    after = _memory(wc)
    assert before.keys() <= after.keys(), "a process of the mesh has ended"
    grown = {name: after[name] - was for name, was in before.items() if after[name] > was + ROOM}
    assert not grown
    assert {type(each) for each in places} == {str, tuple}


def test_slow_and_half_open_clients_keep_nobody_waiting(wc: Mesh) -> None:
    before = _memory(wc)
    with contextlib.ExitStack() as held:
        for place in _places(wc):
            for number in range(SLOW if isinstance(place, tuple) else 10):
                client = held.enter_context(contextlib.closing(_open(place)))
                with contextlib.suppress(OSError):
                    # Nothing, a part of a request, or all of it and no reading of the answer.
                    client.send((b"", b"GET / HTTP/1.1\r\nHos", b"\x00\x00")[number % 3])
                    if number % 5 == 0:
                        client.shutdown(socket.SHUT_WR)
        _everybody_is_served(wc)
        after = _memory(wc)
    assert before.keys() <= after.keys(), "a process of the mesh has ended"
    assert all(after[name] < was + ROOM for name, was in before.items())


def _everybody_is_served(mesh: Mesh) -> None:
    began = time.monotonic()
    assert mesh.get("wc-web") == (200, '"here"')
    assert mesh.cli("call", "wc-web", "/").stdout.strip() == '"here"'
    done = mesh.cli("run", "deployed-task", "wc_add", "--x", "41")
    assert done.stdout.strip().endswith("42"), done.stdout
    # Over TCP as well, with its token.
    environment = f"127.0.0.1:{mesh.record['api_port']}"
    assert "wc-web" in mesh.cli("get", "apps", "--endpoint", environment).stdout
    assert time.monotonic() - began < 30


def _places(mesh: Mesh) -> list[Place]:
    """Every TCP port and Unix socket that a process of the mesh listens on."""
    found: set[Place] = set()
    for process in mesh.processes():
        with contextlib.suppress(psutil.Error):
            for each in process.net_connections("tcp"):
                if each.status == psutil.CONN_LISTEN:
                    found.add(("127.0.0.1", each.laddr.port))
    for root in (mesh.state, Path(mesh.record["runtime_dir"])):
        for path in root.rglob("*"):
            with contextlib.suppress(OSError):
                if stat.S_ISSOCK(path.stat().st_mode):
                    found.add(str(path))
    return sorted(found, key=str)


def _open(place: Place) -> socket.socket:
    family = socket.AF_UNIX if isinstance(place, str) else socket.AF_INET
    client = socket.socket(family, socket.SOCK_STREAM)
    client.settimeout(10)
    client.connect(place)
    return client


def _throw(place: Place, garbage: bytes) -> None:
    """Send it, read a little of what is said to it, and go."""
    with contextlib.suppress(OSError), contextlib.closing(_open(place)) as client:
        client.settimeout(0.1)
        with contextlib.suppress(OSError):
            client.sendall(garbage)
            client.recv(1000)


def _memory(mesh: Mesh) -> dict[str, int]:
    """Bytes that each process keeps, by id and start.

    Without spares and workers: each is used up by a start or a run, and another takes its place.
    """

    def look() -> dict[str, int]:
        found = {}
        for each in mesh.processes():
            with contextlib.suppress(psutil.Error):
                words = each.cmdline()
                if not words or words[0].startswith(("callmesh: spare", "callmesh: worker")):
                    continue
                if "callmesh" in " ".join(words) or "envoy" in words[0]:
                    name = " ".join(words[0:4])
                    found[f"{each.pid} {each.create_time()} {name}"] = each.memory_info().rss
        return found

    return dict(eventually(5, "the mesh's processes", look))
