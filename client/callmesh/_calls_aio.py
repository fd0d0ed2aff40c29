"""A channel for async code that opens at its first call, in the loop that makes it."""

from __future__ import annotations

import asyncio
import os
import weakref
from collections.abc import Callable
from typing import Any

import grpc
import grpc.aio

from callmesh._deadline import capped

Loops = weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, grpc.aio.Channel]


class AioChannel(grpc.aio.Channel):
    """`grpc.aio.Channel` to a target that is asked for when it is needed."""

    def __init__(self, target: Callable[[], str]) -> None:
        self._target = target
        self._opened: Loops = weakref.WeakKeyDictionary()
        self._pid = 0

    def opened(self) -> grpc.aio.Channel:
        """The real channel of the running loop."""
        if self._pid != os.getpid():
            self._opened = weakref.WeakKeyDictionary()
            self._pid = os.getpid()
        loop = asyncio.get_running_loop()
        found = self._opened.get(loop)
        if found is None:
            found = self._opened[loop] = grpc.aio.insecure_channel(self._target())
        return found

    def unary_unary(self, *method: Any, **options: Any) -> Any:
        """A method with one request and one answer."""
        return _Method(self, "unary_unary", method, options)

    def unary_stream(self, *method: Any, **options: Any) -> Any:
        """A method whose answers are a stream."""
        return _Method(self, "unary_stream", method, options)

    def stream_unary(self, *method: Any, **options: Any) -> Any:
        """A method whose requests are a stream."""
        return _Method(self, "stream_unary", method, options)

    def stream_stream(self, *method: Any, **options: Any) -> Any:
        """A method with streams both ways."""
        return _Method(self, "stream_stream", method, options)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:  # noqa: FBT001, FBT002
        """The connection's state."""
        return self.opened().get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Wait until it is another one."""
        await self.opened().wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        """Wait until there is a connection."""
        await self.opened().channel_ready()

    async def close(self, grace: float | None = None) -> None:
        """Close it in the running loop, if it was opened there."""
        found = self._opened.pop(asyncio.get_running_loop(), None)
        if found is not None and self._pid == os.getpid():
            await found.close(grace)

    async def __aenter__(self) -> AioChannel:
        return self

    async def __aexit__(self, *_problem: object) -> None:
        await self.close()


class _Method:
    """One method: its real form is made with the channel."""

    def __init__(
        self, channel: AioChannel, kind: str, method: tuple[Any, ...], options: dict[str, Any]
    ) -> None:
        self._channel = channel
        self._kind = kind
        self._method = method
        self._options = options
        self._made: tuple[grpc.aio.Channel, Any] | None = None

    def __call__(self, *request: Any, timeout: float | None = None, **options: Any) -> Any:
        opened = self._channel.opened()
        if self._made is None or self._made[0] is not opened:
            made = getattr(opened, self._kind)(*self._method, **self._options)
            self._made = opened, made
        return self._made[1](*request, timeout=capped(timeout), **options)
