"""Browsers and bad clients at the ingress of a whole mesh."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
import websockets.asyncio.client
import websockets.sync.client
from mesh import Mesh
from mirror import mirror

pytestmark = pytest.mark.slow
BROWSER = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


@pytest.fixture(scope="module")
def facing(shared_mesh: Mesh, tmp_path_factory: pytest.TempPathFactory) -> Mesh:
    """A mesh with the app `facing`."""
    shared_mesh.cli("deploy", mirror(tmp_path_factory.mktemp("facing"), "facing"))
    return shared_mesh


def ask(mesh: Mesh, host: str, path: str = "/", **options: object) -> httpx.Response:
    """A request at the ingress under a host name; `PORT` stands for the ingress'."""
    headers = {"host": host.replace("PORT", str(mesh.record["ingress_port"]))}
    headers |= options.pop("headers", {})  # type: ignore[arg-type]
    method = str(options.pop("method", "GET"))
    return httpx.request(
        method,
        f"{mesh.ingress}{path}",
        headers=headers,
        trust_env=False,
        timeout=20,
        **options,  # type: ignore[arg-type]
    )


@contextlib.contextmanager
def raw(mesh: Mesh) -> Iterator[socket.socket]:
    """A connection to the ingress, to speak HTTP badly."""
    address = ("127.0.0.1", int(mesh.record["ingress_port"]))
    with socket.create_connection(address, timeout=20) as connection:
        yield connection


def everything(connection: socket.socket) -> bytes:
    """What is sent until the other end closes."""
    parts = []
    while part := connection.recv(65536):
        parts.append(part)
    return b"".join(parts)


def test_an_app_answers_at_its_name_and_others_get_the_pages(facing: Mesh) -> None:
    assert ask(facing, "facing.localhost:PORT").json()["version"] == "one"
    unknown = ask(facing, "nobody.localhost:PORT", headers=BROWSER)
    assert unknown.status_code == 404
    assert "nobody" in unknown.text and "facing" in unknown.text
    for host in ("localhost:PORT", "127.0.0.1:PORT"):
        home = ask(facing, host, headers=BROWSER)
        assert home.status_code == 200
        assert "facing" in home.text


@pytest.mark.parametrize("host", ["evil.example:PORT", "facing.localhost.evil.example", "facing"])
def test_a_name_of_somebody_else_is_refused(facing: Mesh, host: str) -> None:
    refused = ask(facing, host)
    assert refused.status_code == 421
    assert "facing" not in refused.text


def test_an_app_without_an_instance_says_so(facing: Mesh, tmp_path: Path) -> None:
    file = tmp_path / "absent_app.py"
    file.write_text(
        "import callmesh as flyte\n"
        "env = flyte.app.AppEnvironment(name='absent', args=['sleep', '60'],\n"
        "    requires_auth=False, timeouts=flyte.app.Timeouts(startup=30))\n"
    )
    facing.cli("deploy", str(file), "--no-wait")
    try:
        page = ask(facing, "absent.localhost:PORT", headers=BROWSER)
        program = ask(facing, "absent.localhost:PORT")
        assert (page.status_code, program.status_code) == (503, 503)
        assert "absent" in page.text
        assert program.text.startswith("no instance of app `absent` is ready")
    finally:
        facing.cli("delete", "app", "absent")


def test_a_websocket_passes(facing: Mesh) -> None:
    port = int(facing.record["ingress_port"])
    with websockets.sync.client.connect(
        f"ws://facing.localhost:{port}/ws", sock=socket.create_connection(("127.0.0.1", port))
    ) as browser:
        for number in range(3):
            browser.send(str(number))
            assert browser.recv(timeout=5) == f"one {number}"


def test_large_bodies_pass_and_large_headers_are_bounded(facing: Mesh) -> None:
    host = "facing.localhost:PORT"
    size = 32 << 20
    sent = ask(facing, host, "/size", method="POST", content=bytes(size))
    assert sent.json() == size
    chunks = (b"x" * 65536 for _ in range(64))
    assert ask(facing, host, "/size", method="POST", content=chunks).json() == 64 * 65536
    fits = ask(facing, host, "/header/x-large", headers={"x-large": "x" * 32_000})
    assert fits.json() == 32_000
    refused = ask(facing, host, "/header/x-large", headers={"x-large": "x" * 80_000})
    assert refused.status_code == 431


def test_an_old_client_is_answered(facing: Mesh) -> None:
    with raw(facing) as connection:
        connection.sendall(b"GET / HTTP/1.0\r\nHost: facing.localhost\r\n\r\n")
        answer = everything(connection)
    assert b" 200 " in answer.split(b"\r\n", 1)[0]
    assert b'"version":"one"' in answer


def test_a_client_without_a_host_or_sense_is_refused(facing: Mesh) -> None:
    for said in (
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    ):
        with raw(facing) as connection:
            connection.sendall(said)
            assert b" 400 " in everything(connection).split(b"\r\n", 1)[0]


def test_a_client_that_never_ends_its_headers_is_let_go(facing: Mesh) -> None:
    began = time.monotonic()
    with raw(facing) as connection, contextlib.suppress(ConnectionError):
        connection.sendall(b"GET / HTTP/1.1\r\nHost: facing.localhost\r\n")
        connection.settimeout(1.0)
        answer = b""
        while not answer and time.monotonic() - began < 30:
            connection.sendall(b"x-slow: 1\r\n")
            with contextlib.suppress(TimeoutError):
                answer = connection.recv(4096)
    assert b" 408 " in answer.split(b"\r\n", 1)[0]
    assert 5 < time.monotonic() - began < 25


def test_a_slow_upload_is_not_cut(facing: Mesh) -> None:
    with raw(facing) as connection:
        connection.sendall(
            b"POST /size HTTP/1.1\r\nHost: facing.localhost\r\n"
            b"Content-Length: 12\r\nConnection: close\r\n\r\n"
        )
        for _ in range(12):
            time.sleep(1)
            connection.sendall(b"x")
        answer = everything(connection)
    assert b" 200 " in answer.split(b"\r\n", 1)[0]
    assert answer.endswith(b"12")


def test_clients_that_do_not_read_cost_little_memory(facing: Mesh) -> None:
    envoy = facing.process("envoy")
    app = psutil.Process(facing.json("get", "app", "facing")["instances"][0]["pid"])
    before = [each.memory_info().rss for each in (envoy, app)]
    with contextlib.ExitStack() as stack:
        for _ in range(16):
            connection = stack.enter_context(raw(facing))
            connection.sendall(b"GET /flood HTTP/1.1\r\nHost: facing.localhost\r\n\r\n")
            assert connection.recv(1024).startswith(b"HTTP/1.1 200")
        time.sleep(2)
        after = [each.memory_info().rss for each in (envoy, app)]
        assert ask(facing, "facing.localhost:PORT").status_code == 200
    grown = [(b - a) >> 20 for a, b in zip(before, after, strict=True)]
    assert max(grown) < 100, f"MiB of Envoy and of the app for 16 x 64 MiB: {grown}"


async def test_more_websockets_than_a_proxys_usual_limit(facing: Mesh) -> None:
    port = int(facing.record["ingress_port"])
    ceiling = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, ceiling[1]), ceiling[1]))
    visitors: list[websockets.asyncio.client.ClientConnection] = []
    try:
        for number in range(1200):
            visitor = await websockets.asyncio.client.connect(
                f"ws://facing.localhost:{port}/ws",
                host="127.0.0.1",
                port=port,
                proxy=None,
                ping_interval=None,
            )
            visitors.append(visitor)
            await visitor.send(str(number))
        heard = [await asyncio.wait_for(each.recv(), 10) for each in visitors]
    finally:
        # Together: Envoy keeps each connection for a second after its last frame.
        await asyncio.gather(*(each.close() for each in visitors))
        resource.setrlimit(resource.RLIMIT_NOFILE, ceiling)
    assert heard == [f"one {number}" for number in range(1200)]
