"""A program: calls an app in every way from one host until its input ends, and tells how it went.

`python callers.py MESH_URL INGRESS_URL HOST NAME` prints one line of JSON: see `Story`.
Each way has a pace of its own, some 18 calls a second in all where nothing is slow.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import httpx
import websockets.exceptions
from websockets.asyncio.client import connect

# Seconds that a call may take beyond what the app takes for it.
PATIENCE = 15
# Ticks of an event stream that ends by itself, 0.1 s apart; of one that does not.
SHORT, ENDLESS = 25, 1_000_000


@dataclass
class Story:
    """What became of the calls."""

    # By way of calling.
    answered: Counter[str] = field(default_factory=Counter)
    # When (epoch seconds) and why.
    failed: list[tuple[float, str]] = field(default_factory=list)
    # Of WebSockets, by close code.
    closed: Counter[str] = field(default_factory=Counter)
    # Endless event streams that were cut.
    cut: int = 0
    versions: Counter[str] = field(default_factory=Counter)
    # What each POST that was answered carried.
    posted: list[str] = field(default_factory=list)
    slowest: float = 0.0


class Callers:
    """Calls one app from this host."""

    def __init__(self, mesh: str, ingress: str, host: str, name: str) -> None:
        self._mesh = mesh
        self._ingress = ingress
        self._host = {"Host": host}
        self._name = name
        self._number = 0
        self._ending = asyncio.Event()
        self.story = Story()

    async def run(self) -> None:
        """Call until the standard input ends."""
        asyncio.get_running_loop().add_reader(sys.stdin, self._ending.set)
        kept = httpx.Limits(max_keepalive_connections=None)
        fresh = httpx.Limits(max_keepalive_connections=0)
        async with (
            httpx.AsyncClient(limits=kept, timeout=PATIENCE, trust_env=False) as keeping,
            httpx.AsyncClient(limits=fresh, timeout=PATIENCE, trust_env=False) as opening,
            asyncio.TaskGroup() as group,
        ):
            for way, pause, call in (
                ("GET kept", 0.25, lambda: self._get(keeping)),
                ("GET fresh", 0.33, lambda: self._get(opening)),
                ("POST kept", 0.25, lambda: self._post(keeping)),
                ("POST fresh", 0.5, lambda: self._post(opening)),
                ("GET ingress", 0.5, lambda: self._get(keeping, self._ingress)),
                ("POST ingress", 0.5, lambda: self._post(opening, self._ingress)),
                ("slow", 0.0, lambda: self._get(keeping, path="/slow")),
                ("slow fresh", 0.0, lambda: self._get(opening, path="/slow")),
                ("events", 0.0, lambda: self._events(opening)),
            ):
                group.create_task(self._repeat(way, pause, call))
            for _ in range(2):
                group.create_task(self._repeat("stream", 0.0, lambda: self._stream(opening)))
                group.create_task(self._repeat("socket", 0.0, self._socket))

    async def _repeat(self, way: str, pause: float, call: Callable[[], Awaitable[None]]) -> None:
        while not self._ending.is_set():
            began = time.monotonic()
            try:
                await call()
            except (httpx.HTTPError, AssertionError, OSError) as problem:
                self.story.failed.append((time.time(), f"{way}: {problem!r}"))
            else:
                self.story.answered[way] += 1
            took = time.monotonic() - began
            if pause:
                self.story.slowest = max(self.story.slowest, took)
            await asyncio.sleep(max(0.01, pause - took))

    async def _get(self, client: httpx.AsyncClient, base: str = "", path: str = "/") -> None:
        answer = await client.get((base or self._mesh) + path, headers=self._headers(base))
        assert answer.status_code == 200, (answer.status_code, answer.text)
        self.story.versions[answer.json()] += 1

    async def _post(self, client: httpx.AsyncClient, base: str = "") -> None:
        self._number += 1
        content = f"{self._name}-{self._number}"
        url = (base or self._mesh) + "/"
        answer = await client.post(url, headers=self._headers(base), content=content)
        assert answer.status_code == 200, (answer.status_code, answer.text)
        assert answer.json() == content
        self.story.posted.append(content)

    async def _events(self, client: httpx.AsyncClient) -> None:
        url = f"{self._mesh}/events?count={SHORT}"
        async with client.stream("GET", url) as answer:
            assert answer.status_code == 200, answer.status_code
            lines = [line async for line in answer.aiter_lines() if line]
        assert lines == [f"data: {number}" for number in range(SHORT)], lines[-1:]

    async def _stream(self, client: httpx.AsyncClient) -> None:
        """An endless stream: it is cut at the drain's end, and has to be begun by then."""
        url = f"{self._ingress}/events?count={ENDLESS}"
        began = 0
        try:
            async with client.stream("GET", url, headers=self._host) as answer:
                assert answer.status_code == 200, answer.status_code
                async for _ in answer.aiter_lines():
                    began += 1
                    if self._ending.is_set():
                        return
        except httpx.RemoteProtocolError:
            assert began, "cut before its first event"
        self.story.cut += 1

    async def _socket(self) -> None:
        """A WebSocket that says something twice a second, until it is closed."""
        number = 0
        try:
            url = f"{self._mesh.replace('http', 'ws')}/ws"
            async with connect(url, proxy=None, open_timeout=PATIENCE) as socket:
                while not self._ending.is_set():
                    number += 1
                    await socket.send(str(number))
                    said = await asyncio.wait_for(socket.recv(), PATIENCE)
                    assert str(said).split()[1] == str(number), said
                    await asyncio.sleep(0.5)
        except websockets.exceptions.ConnectionClosed as closed:
            code = closed.rcvd.code if closed.rcvd else "none"
            self.story.closed[str(code)] += 1
        except websockets.exceptions.InvalidStatus as refused:
            body = refused.response.body or b""
            raise AssertionError((refused.response.status_code, bytes(body))) from refused
        except (websockets.exceptions.WebSocketException, TimeoutError) as problem:
            raise AssertionError(repr(problem)) from problem

    def _headers(self, base: str) -> dict[str, str]:
        return self._host if base else {}


if __name__ == "__main__":
    callers = Callers(*sys.argv[1:])
    asyncio.run(callers.run())
    print(json.dumps(vars(callers.story)))
