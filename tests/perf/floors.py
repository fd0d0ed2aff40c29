"""What a run cannot do without: one round trip on a gRPC stream, two durable commits.

``floors.py SOCKET`` serves the echo; `chain` measures against it.
"""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import grpc.aio
from figures import median

METHOD = "/floor/Echo"
PAYLOAD = b"x" * 300


async def echo(requests: AsyncIterator[bytes], context: object) -> AsyncIterator[bytes]:
    async for request in requests:
        yield request


async def serve(target: str) -> None:
    server = grpc.aio.server()
    handler = grpc.stream_stream_rpc_method_handler(echo)
    server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler("floor", {"Echo": handler})]
    )
    server.add_insecure_port(target)
    await server.start()
    await server.wait_for_termination()


async def round_trips(target: str, count: int) -> list[float]:
    async with grpc.aio.insecure_channel(target) as channel:
        call = channel.stream_stream(METHOD)(wait_for_ready=True)
        durations = []
        for _ in range(count):
            began = time.perf_counter()
            await call.write(PAYLOAD)
            await call.read()
            durations.append(time.perf_counter() - began)
        call.cancel()
    return durations[count // 10 :]


def commits(path: Path, count: int) -> list[float]:
    with sqlite3.connect(path, isolation_level=None) as database:
        database.execute("pragma journal_mode=wal")
        database.execute("pragma synchronous=full")
        database.execute("create table runs (id integer primary key, record blob)")
        durations = []
        for _ in range(count):
            began = time.perf_counter()
            database.execute("insert into runs (record) values (?)", (PAYLOAD,))
            durations.append(time.perf_counter() - began)
    return durations


def chain(folder: Path) -> float:
    """Seconds of one round trip and two commits, at the median."""
    target = f"unix:{folder}/floor.sock"
    process = subprocess.Popen([sys.executable, __file__, target], cwd=Path(__file__).parent)
    try:
        trip = median(asyncio.run(round_trips(target, 300)))
    finally:
        process.terminate()
        process.wait()
    return trip + 2 * median(commits(folder / "floor.db", 300))


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
