"""The pages' process as `callmesh up` starts it: on an inherited listening socket."""

import os
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        listening.bind(str(tmp_path / "web.sock"))
        listening.listen()
        yield listening


def command(listener: socket.socket, tmp_path: Path, *options: str) -> list[str]:
    return [
        *(sys.executable, "-m", "callmesh_server.web", f"--fd={listener.fileno()}"),
        *(f"--api={tmp_path}/api.sock", *options),
    ]


def ask(tmp_path: Path) -> httpx.Response:
    transport = httpx.HTTPTransport(uds=str(tmp_path / "web.sock"))
    with httpx.Client(transport=transport, timeout=20) as client:
        return client.get("http://localhost/style.css")


def test_a_waiting_connection_is_answered_and_idleness_ends_it(
    listener: socket.socket, tmp_path: Path
) -> None:
    for _ in range(2):
        process = subprocess.Popen(
            command(listener, tmp_path, "--idle=0.5"), pass_fds=(listener.fileno(),)
        )
        try:
            assert ask(tmp_path).status_code == 200
            assert process.wait(10) == 0
        finally:
            process.kill()


def test_it_dies_with_its_parent(listener: socket.socket, tmp_path: Path) -> None:
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            textwrap.dedent(
                f"""
                import subprocess, time
                child = subprocess.Popen(
                    {command(listener, tmp_path)!r}, pass_fds=({listener.fileno()},)
                )
                print(child.pid, flush=True)
                time.sleep(60)
                """
            ),
        ],
        pass_fds=(listener.fileno(),),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    assert ask(tmp_path).status_code == 200
    parent.kill()
    parent.wait()
    until = time.monotonic() + 10
    while _runs(child):
        assert time.monotonic() < until, "the pages outlived the mesh"
        time.sleep(0.02)


def _runs(pid: int) -> bool:
    """Alive and not a zombie that nobody has reaped yet."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False
