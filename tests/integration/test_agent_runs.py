"""Attempts on a real agent's workers: executed, stopped, lost, logged."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator

import pytest
from agent_node import Node, eventually

from callmesh_agent.agent import Agent
from callmeshpb.v1 import node_pb2, scheduler_pb2

RUNNING = scheduler_pb2.ATTEMPT_PHASE_RUNNING
SUCCEEDED = scheduler_pb2.ATTEMPT_PHASE_SUCCEEDED
FAILED = scheduler_pb2.ATTEMPT_PHASE_FAILED
LOST = scheduler_pb2.ATTEMPT_PHASE_LOST
ABORTED = scheduler_pb2.ATTEMPT_PHASE_ABORTED

WORK = """
import os, time
env = object()
def add(x: int, y: int) -> int:
    print("adding", x, y)
    return x + y
def pid() -> int:
    return os.getpid()
def nap(seconds: float, path: str = "") -> str:
    print("sleeping")
    try:
        time.sleep(seconds)
    finally:
        print("cleaned up")
    return "rested"
def secret() -> str:
    return os.environ["KEY"]
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


async def run(node: Node, name: str, function: str, digest: str, **fields: object):
    order = node.control.order(name, function, digest, **fields)
    node.control.go(order)
    report = await node.control.until_phase(name, SUCCEEDED)
    node.control.ack(order)
    return report


async def test_a_worker_is_used_again(node: Node, agent: Agent) -> None:
    digest = node.control.add_code({"work.py": WORK})
    first = await run(node, "r1", "add", digest, inputs={"x": b"1", "y": b"2"})
    assert first.outputs[0].json == b"3"
    pids = {(await run(node, f"p{i}", "pid", digest)).outputs[0].json for i in range(5)}
    assert len(pids) == 1


async def test_nothing_runs_before_go(node: Node, agent: Agent) -> None:
    digest = node.control.add_code({"work.py": WORK})
    await run(node, "warm", "pid", digest)
    order = node.control.order("r1", "pid", digest)
    await asyncio.sleep(0.2)
    assert "r1" not in node.control.attempts
    node.control.go(order)
    await node.control.until_phase("r1", SUCCEEDED)


async def test_many_at_once_have_workers_of_their_own(node: Node, agent: Agent) -> None:
    digest = node.control.add_code({"work.py": WORK})
    orders = [
        node.control.order(f"n{i}", "nap", digest, inputs={"seconds": b"1.5"}) for i in range(8)
    ]
    for order in orders:
        node.control.go(order)
    for order in orders:
        await node.control.until_phase(order.run, SUCCEEDED)
        node.control.ack(order)
    workers = {node.control.attempts[order.run].worker for order in orders}
    assert len(workers) == 8


async def test_a_killed_worker_is_said_to_be_lost(node: Node, agent: Agent) -> None:
    digest = node.control.add_code({"work.py": WORK})
    pid = int((await run(node, "warm", "pid", digest)).outputs[0].json)
    order = node.control.order("r1", "nap", digest, inputs={"seconds": b"60"})
    node.control.go(order)
    await node.control.until_phase("r1", RUNNING)
    os.kill(pid, signal.SIGKILL)
    report = await node.control.until_phase("r1", LOST)
    assert "signal 9 (SIGKILL)" in report.error.message


async def test_a_stop_lets_the_user_clean_up(node: Node, agent: Agent) -> None:
    digest = node.control.add_code({"work.py": WORK})
    order = node.control.order("r1", "nap", digest, inputs={"seconds": b"60"})
    node.control.go(order)
    report = await node.control.until_phase("r1", RUNNING)
    await eventually(lambda: "sleeping" in log(node, report.worker))
    stop = node_pb2.AttemptStop(run="r1", fence=order.fence, reason="max_runtime of 5 s is over")
    stop.grace.FromSeconds(5)
    node.control.send(node_pb2.ServerMessage(stop=stop))
    ended = await node.control.until_phase("r1", ABORTED)
    assert ended.error.message == "max_runtime of 5 s is over"
    assert "cleaned up" in log(node, report.worker)


def log(node: Node, worker: str) -> str:
    path = node.settings.logs_dir / "worker" / f"{worker}.log"
    return path.read_text() if path.exists() else ""


async def test_an_import_that_fails_is_the_runs_failure(node: Node, agent: Agent) -> None:
    digest = node.control.add_code({"work.py": "import no_such_module\nenv = object()\n"})
    node.control.go(node.control.order("r1", "add", digest))
    report = await node.control.until_phase("r1", FAILED)
    assert report.error.type == "ModuleNotFoundError"
    assert "no_such_module" in report.error.message


async def test_what_cannot_be_forked_is_spawned(node: Node, agent: Agent) -> None:
    text = "import socket\nopen_socket = socket.create_server(('127.0.0.1', 0))\n" + WORK
    digest = node.control.add_code({"work.py": text})
    report = await run(node, "r1", "add", digest, inputs={"x": b"1", "y": b"1"})
    assert report.outputs[0].json == b"2"


async def test_code_that_does_not_exist_ends_as_lost(node: Node, agent: Agent) -> None:
    node.control.go(node.control.order("r1", "add", "0" * 64))
    report = await node.control.until_phase("r1", LOST)
    assert "there is no blob" in report.error.message


async def test_secrets_are_in_the_workers_environment_only(node: Node, agent: Agent) -> None:
    digest = node.control.add_code({"work.py": WORK})
    report = await run(node, "r1", "secret", digest, secret_env={"KEY": "s3cret"})
    assert report.outputs[0].json == b'"s3cret"'
    for line in os.popen("ps -eo args="):
        assert "s3cret" not in line


async def test_logs_of_an_attempt_are_followed_to_its_end(node: Node, agent: Agent) -> None:
    digest = node.control.add_code({"work.py": WORK})
    order = node.control.order("r1", "nap", digest, inputs={"seconds": b"0.4"})
    node.control.go(order)
    report = await node.control.until_phase("r1", RUNNING)
    source = node_pb2.AttemptLog(worker=report.worker, start=report.log_start)
    node.control.send(
        node_pb2.ServerMessage(log=node_pb2.LogRequest(stream_id="s", attempt=source, follow=True))
    )

    def chunks() -> list[node_pb2.LogChunk]:
        return [each.log for each in node.control.heard if each.HasField("log")]

    await node.control.until(lambda: any(each.end for each in chunks()), 5)
    assert [line for each in chunks() for line in each.lines] == ["sleeping", "cleaned up"]
