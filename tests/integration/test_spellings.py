"""Examples run as they are written: each spelling of theirs, through the mesh."""

from __future__ import annotations

import asyncio
import json

import httpx
import pytest
import websockets
from mesh import Mesh

pytestmark = pytest.mark.slow

SCRIPT = "tests/integration/projects/spellings.py"


@pytest.fixture(scope="module")
def front(shared_mesh: Mesh) -> httpx.Client:
    told = shared_mesh.python(SCRIPT).splitlines()
    port = shared_mesh.record["ingress_port"]
    assert told == [
        f"1 ['spelt-back', 'spelt-front'] http://spelt-front.localhost:{port}",
        "spelt-tasks.process_data ''",
        "True True",
        "True True (8,)",
    ]
    endpoint = shared_mesh.json("get", "app", "spelt-front")["endpoint"]
    return httpx.Client(base_url=endpoint, timeout=60)


def test_inputs_and_how_they_are_read(front: httpx.Client) -> None:
    assert front.get("/").json() == {
        "back": "back",
        "variables": ["slow", "3"],
        "get_input": "slow",
        "get_parameter": "3",
        "same": True,
    }


def test_a_run_is_started_and_asked_for_by_its_id(front: httpx.Client) -> None:
    started = front.post("/start", params={"x": 21}).json()
    assert started["url"].endswith(started["run_id"])
    told = front.get(f"/status/{started['run_id']}").json()
    assert told == {"status": "succeeded", "outputs": [42]}


def test_blocking_calls_inside_an_async_handler(front: httpx.Client) -> None:
    told = front.get("/blocking", params={"x": 3}).json()
    assert told == {"outputs": 6, "done": True, "phase": "succeeded"}


def test_a_run_is_streamed_to_a_browser(front: httpx.Client) -> None:
    async def follow() -> list[dict[str, str]]:
        address = f"ws://{front.base_url.host}:{front.base_url.port}/watch"
        async with websockets.connect(address, proxy=None) as socket:
            await socket.send("5")
            return [json.loads(message) async for message in socket]

    updates = asyncio.run(asyncio.wait_for(follow(), 60))
    assert updates[-1]["status"] == "succeeded"
    assert all(set(each) == {"status", "message"} for each in updates)
