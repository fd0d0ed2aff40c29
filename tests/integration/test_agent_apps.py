"""App instances of a real agent: started, called through Envoy, crashed, drained."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator

import httpx
import pytest
from agent_node import Node, eventually, free_port

from callmesh_agent.agent import Agent
from callmeshpb.v1 import common_pb2, scheduler_pb2

READY = scheduler_pb2.INSTANCE_STATE_READY
BACKOFF = scheduler_pb2.INSTANCE_STATE_BACKOFF

WEB = """
import asyncio, os
from types import SimpleNamespace

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        return
    if scope["path"] == "/slow":
        await asyncio.sleep(0.7)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    body = f"{os.getpid()} {os.environ['CALLMESH_INSTANCE_ID']} {os.environ.get('KEY', '')}"
    await send({"type": "http.response.body", "body": body.encode()})

env = SimpleNamespace(name="web", app=app)
"""


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    made = Node()
    try:
        yield made
    finally:
        await made.end()
        assert made.pids() == set()


@pytest.fixture
async def agent(node: Node) -> AsyncIterator[Agent]:
    async with node.running() as running:
        yield running


def asgi(node: Node, text: str = WEB, **fields: object) -> scheduler_pb2.AppSpec:
    digest = node.control.add_code({"web.py": text})
    return scheduler_pb2.AppSpec(
        project="default",
        domain="development",
        name="web",
        kind=scheduler_pb2.APP_KIND_ASGI,
        port=8080,
        code=common_pb2.Code(bundle=digest, module="web", attribute="env"),
        **fields,
    )


def command(line: str, **fields: object) -> scheduler_pb2.AppSpec:
    return scheduler_pb2.AppSpec(
        project="default",
        domain="development",
        name="web",
        kind=scheduler_pb2.APP_KIND_COMMAND,
        args=[line],
        **fields,
    )


async def get(client: httpx.AsyncClient, url: str) -> str:
    answer = await client.get(url)
    assert answer.status_code == 200, answer.text
    return answer.text


async def callable_at(url: str) -> None:
    async def answers() -> bool:
        async with httpx.AsyncClient() as client:
            try:
                return (await client.get(url)).status_code == 200
            except httpx.HTTPError:
                return False

    async with asyncio.timeout(5):
        while not await answers():
            await asyncio.sleep(0.01)


async def test_an_asgi_app_is_called_through_envoy(node: Node, agent: Agent) -> None:
    node.control.want("web-1-aaaaa", asgi(node), secret_env={"KEY": "s3cret"})
    status = await node.control.until_state("web-1-aaaaa", READY)
    assert not status.exposed
    port = free_port()
    node.control.serve("web", port, "web-1-aaaaa")
    await callable_at(f"http://127.0.0.1:{port}/")
    async with httpx.AsyncClient() as client:
        body = await get(client, f"http://127.0.0.1:{port}/")
        assert body == f"{status.pid} web-1-aaaaa s3cret"
        host = {"host": f"web.localhost:{node.settings.ingress_port}"}
        url = f"http://127.0.0.1:{node.settings.ingress_port}/"
        assert (await client.get(url, headers=host)).text == body
    for line in os.popen(f"ps -o args= -p {status.pid}"):
        assert "s3cret" not in line


async def test_a_command_gets_a_port(node: Node, agent: Agent) -> None:
    node.control.want("web-1-aaaaa", command("python -m http.server -b 127.0.0.1 $PORT"))
    status = await node.control.until_state("web-1-aaaaa", READY)
    async with httpx.AsyncClient() as client:
        await get(client, f"http://127.0.0.1:{status.port}/")


async def test_a_command_that_listens_everywhere_is_reported_as_exposed(
    node: Node, agent: Agent
) -> None:
    node.control.want("web-1-aaaaa", command("python -m http.server $PORT"))
    status = await node.control.until_state("web-1-aaaaa", READY)
    assert status.exposed


async def test_a_declared_port_that_another_process_holds_names_it(
    node: Node, agent: Agent
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        line = f"python -m http.server -b 127.0.0.1 {port}"
        node.control.want("web-1-aaaaa", command(line, port=port))
        status = await node.control.until_state("web-1-aaaaa", BACKOFF)
        assert f"port {port}, which its command names, is held by process {os.getpid()}" in (
            status.message
        )
        assert status.consecutive_failures == 1
    await node.control.until_state("web-1-aaaaa", READY)


async def test_a_program_that_fails_says_why(node: Node, agent: Agent) -> None:
    node.control.want("web-1-aaaaa", command("echo no database; exit 3"))
    await node.control.until(
        lambda: (
            node.control.instances["web-1-aaaaa"].status.consecutive_failures == 3
            if "web-1-aaaaa" in node.control.instances
            else False
        )
    )
    status = node.control.instances["web-1-aaaaa"].status
    assert (status.last_exit, list(status.log_tail)) == ("exit code 3", ["no database"])
    assert status.state == BACKOFF


async def test_a_module_that_raises_says_so_in_its_log_tail(node: Node, agent: Agent) -> None:
    node.control.want("web-1-aaaaa", asgi(node, "raise RuntimeError('no model file')"))
    status = await node.control.until_state("web-1-aaaaa", BACKOFF)
    assert "no model file" in "\n".join(status.log_tail)


async def test_a_killed_instance_costs_no_call_that_may_be_repeated(
    node: Node, agent: Agent
) -> None:
    spec = asgi(node)
    for name in ("web-1-aaaaa", "web-1-bbbbb"):
        node.control.want(name, spec)
    for name in ("web-1-aaaaa", "web-1-bbbbb"):
        await node.control.until_state(name, READY)
    port = free_port()
    node.control.serve("web", port, "web-1-aaaaa", "web-1-bbbbb")
    url = f"http://127.0.0.1:{port}/"
    await callable_at(url)
    seen: set[str] = set()
    ending = asyncio.Event()

    async def caller() -> None:
        async with httpx.AsyncClient(timeout=5) as client:
            while not ending.is_set():
                seen.add(await get(client, url))

    victim = node.control.instances["web-1-aaaaa"].status.pid
    async with asyncio.TaskGroup() as group:
        for _ in range(8):
            group.create_task(caller())
        await eventually(lambda: len(seen) == 2)
        os.kill(victim, signal.SIGKILL)
        await node.control.until(
            lambda: (
                node.control.instances["web-1-aaaaa"].status.restarts == 1
                and node.control.instances["web-1-aaaaa"].status.state == READY
            )
        )
        await eventually(lambda: len(seen) == 3)
        ending.set()


async def test_a_drain_lets_calls_end_and_then_ends_it(node: Node, agent: Agent) -> None:
    spec = asgi(node)
    node.control.want("web-1-aaaaa", spec)
    status = await node.control.until_state("web-1-aaaaa", READY)
    port = free_port()
    node.control.serve("web", port, "web-1-aaaaa")
    await callable_at(f"http://127.0.0.1:{port}/")
    async with httpx.AsyncClient(timeout=10) as client, asyncio.TaskGroup() as group:
        slow = group.create_task(get(client, f"http://127.0.0.1:{port}/slow"))
        await asyncio.sleep(0.2)
        node.control.intend("web-1-aaaaa", scheduler_pb2.INSTANCE_INTENT_DRAIN)
        await node.control.until_state("web-1-aaaaa", scheduler_pb2.INSTANCE_STATE_DRAINING)
        assert str(status.pid) in await slow
        await node.control.until(lambda: node.control.instances["web-1-aaaaa"].gone, 5)
    assert not os.path.exists(f"/proc/{status.pid}")  # noqa: PTH110


async def test_secret_files_go_with_their_process(node: Node, agent: Agent) -> None:
    program = (
        f"cat $CALLMESH_SECRETS_DIR/key; exec {sys.executable} -m http.server -b 127.0.0.1 $PORT"
    )
    node.control.want("web-1-aaaaa", command(program), secret_files={"/etc/key": b"s3cret\n"})
    await node.control.until_state("web-1-aaaaa", READY)
    log = node.settings.logs_dir / "app" / "web-1-aaaaa.log"
    assert "s3cret" in log.read_text()
    (placed,) = node.settings.secrets_dir.glob("*/key")
    assert placed.stat().st_mode & 0o777 == 0o600
    node.control.intend("web-1-aaaaa", scheduler_pb2.INSTANCE_INTENT_STOP)
    await node.control.until(lambda: node.control.instances["web-1-aaaaa"].gone)
    assert not placed.exists()


async def test_an_app_with_a_parameter_starts_with_the_others_address(
    node: Node, agent: Agent
) -> None:
    parameter = scheduler_pb2.AppParameter(name="api", env_var="API", app_endpoint="api")
    line = f"echo at $API; exec {sys.executable} -m http.server -b 127.0.0.1 $PORT"
    node.control.want("web-1-aaaaa", command(line, parameters=[parameter]))
    await node.control.until(lambda: "web-1-aaaaa" in node.control.instances)
    assert "waits for the address" in node.control.instances["web-1-aaaaa"].status.message
    port = free_port()
    node.control.serve("api", port)
    await node.control.until_state("web-1-aaaaa", READY)
    log = (node.settings.logs_dir / "app" / "web-1-aaaaa.log").read_text()
    assert f"at http://127.0.0.1:{port}" in log
