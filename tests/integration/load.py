"""A steady stream of calls beside whatever a test does."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import httpx
import websockets.exceptions
import websockets.sync.client

# The code by which a WebSocket is closed as its instance goes away.
SERVICE_RESTART = 1012


@dataclass(frozen=True)
class Miss:
    """One call that did not answer 200."""

    at: float
    why: str


@dataclass
class Load:
    """``callers`` threads, each calling ``url`` again and again until the block ends.

    With ``keep_alive`` a caller keeps its connection; otherwise each call opens
    one. At most ``seconds`` long, whatever the block does.
    """

    url: str
    callers: int = 4
    pause: float = 0.005
    keep_alive: bool = True
    seconds: float = 60
    method: str = "GET"
    answers: list[tuple[float, str]] = field(default_factory=list)
    misses: list[Miss] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._call, daemon=True) for _ in range(self.callers)
        ]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def answered_after(self, moment: float) -> float:
        """Seconds from ``moment`` to the first good answer after it."""
        return min(at for at, _ in self.answers if at > moment) - moment

    def _call(self) -> None:
        limits = httpx.Limits(max_keepalive_connections=1 if self.keep_alive else 0)
        deadline = time.monotonic() + self.seconds
        with httpx.Client(limits=limits, timeout=10, trust_env=False) as client:
            while not self._stop.wait(self.pause) and time.monotonic() < deadline:
                try:
                    answer = client.request(self.method, self.url)
                except httpx.HTTPError as problem:
                    self.misses.append(Miss(time.monotonic(), repr(problem)))
                    continue
                if answer.status_code == 200:
                    self.answers.append((time.monotonic(), answer.text))
                else:
                    self.misses.append(
                        Miss(time.monotonic(), f"{answer.status_code} {answer.text[:200]}")
                    )


@dataclass
class Talk:
    """``talkers`` WebSockets, each with an echo again and again until the block ends.

    One that the app closes as it goes away (1012) is opened again; every other
    end of one is a miss.
    """

    url: str
    talkers: int = 2
    echoes: int = 0
    reopened: int = 0
    misses: list[Miss] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._talk, daemon=True) for _ in range(self.talkers)
        ]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _talk(self) -> None:
        while not self._stop.is_set():
            try:
                self._echo()
            except websockets.exceptions.ConnectionClosed as closed:
                if closed.rcvd is not None and closed.rcvd.code == SERVICE_RESTART:
                    self.reopened += 1
                else:
                    self.misses.append(Miss(time.monotonic(), repr(closed)))
            except (OSError, websockets.exceptions.WebSocketException) as problem:
                self.misses.append(Miss(time.monotonic(), repr(problem)))

    def _echo(self) -> None:
        with websockets.sync.client.connect(self.url, proxy=None) as socket:
            while not self._stop.wait(0.01):
                socket.send("hello")
                assert socket.recv(timeout=10) == "hello"
                self.echoes += 1
