"""What dies on a node, and what goes on: agent, supervisor, Envoy."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from agent_node import Node, eventually
from test_agent_apps import READY, asgi, callable_at, get
from test_agent_runs import LOST, RUNNING, SUCCEEDED, WORK, run


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    made = Node()
    try:
        yield made
    finally:
        await made.end()
        assert made.pids() == set()


def pid_of(node: Node, words: str) -> int:
    """The one process of this node with these words in its command."""
    found = []
    for pid in node.pids():
        with contextlib.suppress(OSError):
            text = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
            if words in text:
                found.append(pid)
    assert len(found) == 1, (words, found)
    return found[0]


async def serve_two(node: Node, port: int) -> dict[str, int]:
    """Two instances of an app in the view; their pids."""
    spec = asgi(node)
    names = ("web-1-aaaaa", "web-1-bbbbb")
    for name in names:
        node.control.want(name, spec)
    pids = {name: (await node.control.until_state(name, READY)).pid for name in names}
    node.control.serve("web", port, *names)
    await callable_at(f"http://127.0.0.1:{port}/")
    return pids


def port_for(node: Node) -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Callers:
    """Calls an app all the time, and fails with the first call that does."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.calls = 0
        self._ending = asyncio.Event()

    async def run(self) -> None:
        async with httpx.AsyncClient(timeout=5) as client:
            while not self._ending.is_set():
                await get(client, self.url)
                self.calls += 1

    def end(self) -> None:
        self._ending.set()


async def test_a_new_agent_adopts_everything_and_no_call_is_lost(node: Node) -> None:
    port = port_for(node)
    digest = node.control.add_code({"work.py": WORK})
    async with asyncio.TaskGroup() as group:
        async with node.running():
            pids = await serve_two(node, port)
            await run(node, "warm", "pid", digest)
            order = node.control.order("r1", "nap", digest, inputs={"seconds": b"2"})
            node.control.go(order)
            worker = (await node.control.until_phase("r1", RUNNING)).worker
            callers = Callers(f"http://127.0.0.1:{port}/")
            group.create_task(callers.run())
        envoy = pid_of(node, "--config-path")
        node.control.instances.clear()
        node.control.attempts.clear()
        await asyncio.sleep(0.5)
        async with node.running():
            for name, pid in pids.items():
                assert (await node.control.until_state(name, READY)).pid == pid
            report = await node.control.until_phase("r1", SUCCEEDED)
            assert report.worker == worker
            node.control.ack(order)
            assert pid_of(node, "--config-path") == envoy
            await run(node, "after", "pid", digest)
            calls = callers.calls
            await eventually(lambda: callers.calls > calls + 50)
            callers.end()
            kinds = [each.WhichOneof("message") for each in node.control.heard]
            last = len(kinds) - 1 - kinds[::-1].index("hello")
            assert "attempts_complete" in kinds[last:]
            assert kinds.index("attempt", last) < kinds.index("attempts_complete", last)


async def test_a_worker_that_died_without_an_agent_is_missing_from_the_reports(
    node: Node,
) -> None:
    digest = node.control.add_code({"work.py": WORK})
    async with node.running():
        pid = int((await run(node, "warm", "pid", digest)).outputs[0].json)
        node.control.go(node.control.order("r1", "nap", digest, inputs={"seconds": b"60"}))
        await node.control.until_phase("r1", RUNNING)
    os.kill(pid, signal.SIGKILL)
    node.control.attempts.clear()
    node.control.heard.clear()
    async with node.running():
        await node.control.until(
            lambda: any(each.HasField("attempts_complete") for each in node.control.heard)
        )
        assert "r1" not in node.control.attempts


async def test_an_instance_that_died_without_an_agent_is_started_again(node: Node) -> None:
    port = port_for(node)
    async with node.running():
        pids = await serve_two(node, port)
    os.kill(pids["web-1-aaaaa"], signal.SIGKILL)
    node.control.instances.clear()
    async with node.running():
        one = await node.control.until_state("web-1-aaaaa", READY)
        two = await node.control.until_state("web-1-bbbbb", READY)
        assert one.pid != pids["web-1-aaaaa"]
        assert two.pid == pids["web-1-bbbbb"]


async def test_a_dead_supervisor_costs_no_call_and_no_run(node: Node) -> None:
    port = port_for(node)
    digest = node.control.add_code({"work.py": WORK})
    async with node.running(), asyncio.TaskGroup() as group:
        pids = await serve_two(node, port)
        await run(node, "warm", "pid", digest)
        order = node.control.order("r1", "nap", digest, inputs={"seconds": b"1.5"})
        node.control.go(order)
        await node.control.until_phase("r1", RUNNING)
        callers = Callers(f"http://127.0.0.1:{port}/")
        group.create_task(callers.run())
        os.kill(pid_of(node, "callmesh_agent.supervisor"), signal.SIGKILL)
        await node.control.until_phase("r1", SUCCEEDED)
        node.control.ack(order)
        for name, pid in pids.items():
            assert node.control.instances[name].status.pid == pid
        other = node.control.add_code({"work.py": WORK + "\n"})
        await run(node, "new code", "pid", other)
        os.kill(pids["web-1-aaaaa"], signal.SIGKILL)
        await node.control.until(
            lambda: (
                node.control.instances["web-1-aaaaa"].status.pid not in (0, pids["web-1-aaaaa"])
                and node.control.instances["web-1-aaaaa"].status.state == READY
            )
        )
        callers.end()


async def test_a_dead_envoy_is_back_at_once(node: Node) -> None:
    port = port_for(node)
    async with node.running():
        await serve_two(node, port)
        before = pid_of(node, "--config-path")
        os.kill(before, signal.SIGKILL)
        loop = asyncio.get_running_loop()
        died = loop.time()
        await callable_at(f"http://127.0.0.1:{port}/")
        took = loop.time() - died
        assert pid_of(node, "--config-path") != before
        print("Envoy answered again after", took)
        # 30 to 100 ms where the machine has time; what is sure is that nothing waits.
        assert took < 20, took
        await node.control.until(lambda: "EnvoyReady" in conditions(node))


def conditions(node: Node) -> dict[str, str]:
    """What holds of the node, as it was last reported."""
    said = [each.conditions for each in node.control.heard if each.HasField("conditions")]
    return {each.type: each.message for each in said[-1].conditions} if said else {}


async def test_a_taken_mesh_port_becomes_a_condition_that_names_the_holder(node: Node) -> None:
    async with node.running():
        node.control.want("web-1-aaaaa", asgi(node))
        await node.control.until_state("web-1-aaaaa", READY)
        with socket.create_server(("127.0.0.1", 0)) as other:
            port = other.getsockname()[1]
            node.control.serve("web", port, "web-1-aaaaa")
            await node.control.until(lambda: "PortConflict" in conditions(node))
            assert (
                f"port {port} of `web` is held by process {os.getpid()}"
                in (conditions(node)["PortConflict"])
            )
        await node.control.until(lambda: "PortConflict" not in conditions(node))
        await callable_at(f"http://127.0.0.1:{port}/")


async def test_a_stop_that_nobody_heard_is_lost_with_its_node(node: Node) -> None:
    digest = node.control.add_code({"work.py": WORK})
    async with node.running():
        await run(node, "warm", "pid", digest)
        order = node.control.order("r1", "nap", digest, inputs={"seconds": b"60"})
    node.control.attempts.clear()
    async with node.running():
        await node.control.until(
            lambda: any(each.HasField("attempts_complete") for each in node.control.heard)
        )
        # What was only prepared is gone with the agent: the server says go, and hears so.
        node.control.go(order)
        await node.control.until_phase("r1", LOST)
