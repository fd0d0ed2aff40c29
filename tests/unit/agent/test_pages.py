"""The mesh's pages through a node's Unix socket."""

from __future__ import annotations

import asyncio
import stat

import pytest

from callmesh_agent import pages
from callmesh_wire.errors import UnavailableError


async def echo(sent):
    async for data in sent:
        yield data.upper()


async def away(_sent):
    raise UnavailableError("the server is away")
    yield b""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "web.sock"


async def connected(path):
    while not path.exists():
        await asyncio.sleep(0.01)
    return await asyncio.open_unix_connection(str(path))


async def test_a_connection_passes_and_an_open_one_holds_up_no_end(path):
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        serving = group.create_task(pages.serve(path, echo))
        reader, writer = await connected(path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        writer.write(b"get")
        assert await reader.readexactly(3) == b"GET"
        serving.cancel()
        await asyncio.wait({serving})
        writer.write_eof()
        assert await reader.read() == b""
        writer.close()


async def test_without_a_server_the_connection_closes(path):
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        serving = group.create_task(pages.serve(path, away))
        reader, writer = await connected(path)
        assert await reader.read() == b""
        writer.close()
        serving.cancel()
