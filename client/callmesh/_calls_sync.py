"""A channel for sync code that opens at its first call, and again after a fork."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any

import grpc

from callmesh._deadline import capped


class SyncChannel(grpc.Channel):
    """`grpc.Channel` to a target that is asked for when it is needed."""

    def __init__(self, target: Callable[[], str]) -> None:
        self._target = target
        self._lock = threading.Lock()
        self._opened: grpc.Channel | None = None
        self._pid = 0

    def opened(self) -> grpc.Channel:
        """The real channel of this process."""
        with self._lock:
            if self._opened is None or self._pid != os.getpid():
                self._opened = grpc.insecure_channel(self._target())
                self._pid = os.getpid()
            return self._opened

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

    def subscribe(self, callback: Any, try_to_connect: bool = False) -> None:  # noqa: FBT001, FBT002
        """Hear of the connection's state."""
        self.opened().subscribe(callback, try_to_connect)

    def unsubscribe(self, callback: Any) -> None:
        """Hear no more."""
        self.opened().unsubscribe(callback)

    def close(self) -> None:
        """Close it, if it was opened in this process."""
        with self._lock:
            opened, self._opened = self._opened, None
        if opened is not None and self._pid == os.getpid():
            opened.close()

    def __enter__(self) -> SyncChannel:
        return self

    def __exit__(self, *_problem: object) -> None:
        self.close()


class _Method:
    """One method: its real form is made with the channel."""

    def __init__(
        self, channel: SyncChannel, kind: str, method: tuple[Any, ...], options: dict[str, Any]
    ) -> None:
        self._channel = channel
        self._kind = kind
        self._method = method
        self._options = options
        self._made: tuple[grpc.Channel, Any] | None = None

    def __call__(self, request: Any, timeout: float | None = None, **options: Any) -> Any:
        return self._real()(request, timeout=capped(timeout), **options)

    def with_call(self, request: Any, timeout: float | None = None, **options: Any) -> Any:
        """The answer, and the call."""
        return self._real().with_call(request, timeout=capped(timeout), **options)

    def future(self, request: Any, timeout: float | None = None, **options: Any) -> Any:
        """The call, whose answer comes later."""
        return self._real().future(request, timeout=capped(timeout), **options)

    def _real(self) -> Any:
        opened = self._channel.opened()
        if self._made is None or self._made[0] is not opened:
            made = getattr(opened, self._kind)(*self._method, **self._options)
            self._made = opened, made
        return self._made[1]
