"""A steady load of one host, as a process: `caller.py NODE URL FILE`.

Calls an app again and again, by several kinds of callers, until it is ended.
A line of JSON per call goes to the file (`Call`). Times are `time.monotonic`,
which all hosts of a test share.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TextIO

import httpx
import websockets
from websockets.asyncio.client import connect

PATIENCE = 30.0
Ask = Callable[[httpx.AsyncClient, str], Awaitable[httpx.Response]]


@dataclass(frozen=True)
class Call:
    """One call: what, where from, when, who answered, and what went wrong, if anything."""

    kind: str
    node: str
    began: float
    ended: float
    # The instance that answered; of a run, its name.
    instance: str = ""
    why: str = ""
    # Of a POST, what it said.
    key: str = ""


class Caller:
    """The callers of one host, who write into one book."""

    def __init__(self, node: str, url: str, file: TextIO) -> None:
        self._node = node
        self._url = url
        self._file = file
        self._numbers = itertools.count(1)

    def note(self, kind: str, began: float, **known: str) -> None:
        """Write one call down."""
        call = Call(kind, self._node, began, time.monotonic(), **known)
        self._file.write(json.dumps(asdict(call)) + "\n")

    async def call(self, kind: str, ask: Ask, pause: float, *, keep: bool) -> None:
        """One caller; with ``keep`` it keeps its connection."""
        limits = httpx.Limits(max_keepalive_connections=1 if keep else 0)
        async with httpx.AsyncClient(
            base_url=self._url, limits=limits, timeout=PATIENCE, trust_env=False
        ) as client:
            while True:
                began = time.monotonic()
                key = f"{self._node}-{next(self._numbers)}"
                try:
                    answer = await ask(client, key)
                except httpx.HTTPError as problem:
                    self.note(kind, began, why=repr(problem), key=key)
                else:
                    if answer.status_code == 200:
                        self.note(kind, began, instance=answer.json()["instance"], key=key)
                    else:
                        why = f"{answer.status_code} {answer.text[:200]}"
                        self.note(kind, began, why=why, key=key)
                await asyncio.sleep(pause)

    async def converse(self, pause: float) -> None:
        """One WebSocket at a time, opened again when it ends; each echo is a call."""
        while True:
            try:
                async with connect(
                    f"{self._url.replace('http', 'ws')}/echo",
                    proxy=None, open_timeout=PATIENCE, close_timeout=1, ping_interval=None,
                ) as socket:  # fmt: skip
                    await self._echo(socket, pause)
            except (OSError, TimeoutError, websockets.WebSocketException) as problem:
                self.note("websocket", time.monotonic(), why=repr(problem))
            await asyncio.sleep(pause)

    async def _echo(self, socket: websockets.ClientConnection, pause: float) -> None:
        instance = str(await socket.recv())
        for number in itertools.count():
            began = time.monotonic()
            await socket.send(str(number))
            async with asyncio.timeout(PATIENCE):
                said = await socket.recv()
            why = "" if said == str(number) else f"{said!r} is not {number}"
            self.note("echo", began, instance=instance, why=why)
            await asyncio.sleep(pause)


async def get(client: httpx.AsyncClient, _key: str) -> httpx.Response:
    return await client.get("/")


async def slow(client: httpx.AsyncClient, _key: str) -> httpx.Response:
    return await client.get("/slow", params={"seconds": 0.15})


async def post(client: httpx.AsyncClient, key: str) -> httpx.Response:
    return await client.post("/take", content=key)


async def main(node: str, url: str, path: str) -> None:
    with Path(path).open("a", buffering=1) as file:
        caller = Caller(node, url, file)
        async with asyncio.TaskGroup() as group:
            group.create_task(caller.call("get", get, 0.05, keep=True))
            group.create_task(caller.call("get", get, 0.05, keep=False))
            group.create_task(caller.call("get", slow, 0.01, keep=True))
            group.create_task(caller.call("get", slow, 0.01, keep=False))
            group.create_task(caller.call("post", post, 0.05, keep=True))
            group.create_task(caller.converse(0.1))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
