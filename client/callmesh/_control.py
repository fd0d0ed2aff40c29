"""The only module that holds a channel to the control plane.

A server that was reached before is waited for while it restarts; one that
never answered is reported at once.
"""

from __future__ import annotations

import os
import time
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import grpc
from google.protobuf.message import Message

from callmesh._passthrough import passed_authorization
from callmesh._places import Place
from callmesh._transport import FIRST_PATIENCE, PATIENCE, while_away
from callmesh_wire import channel, errors, status
from callmesh_wire.methods import Method, methods
from callmesh_wire.requests import Requests

# The process that first opened a channel. gRPC's threads do not survive a fork:
# a channel in a forked child would wait for ever.
_first_user = 0


class ControlTransport:
    """gRPC to one control plane. Opens at the first call."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._channel: Any = None
        self._metadata: tuple[tuple[str, str], ...] = ()
        self._was_reached = False

    @property
    def patience(self) -> float:
        """Short for a control plane that never answered: it may not be there at all."""
        return PATIENCE if self._was_reached else FIRST_PATIENCE

    async def unary(
        self, method: str, request: Message, *, timeout: float | None = None
    ) -> Message:
        """Call once; again while the server is away, for every request is safe to repeat.

        Raises `UnavailableError` when it stays away, `DeadlineError` after
        ``timeout`` seconds.
        """
        found = _find(method)
        started = time.monotonic()

        async def ask() -> Message:
            left = None if timeout is None else timeout - (time.monotonic() - started)
            call = self._open().unary_unary(
                found.path,
                request_serializer=found.request.SerializeToString,
                response_deserializer=found.response.FromString,
            )
            try:
                answer: Message = await call(request, timeout=left, metadata=self._shown())
            except grpc.RpcError as problem:
                raise self._translated(problem, method, timeout) from None
            self._was_reached = True
            return answer

        return await while_away(ask, lambda: self.patience, timeout)

    async def stream(
        self, method: str, requests: Message | AsyncIterator[Message]
    ) -> AsyncGenerator[Message, None]:
        """Call with a stream on either side or both.

        A connection that is lost raises `UnavailableError`: the caller knows
        where to resume. Closing the generator cancels the call.
        """
        found = _find(method)
        taken = requests if isinstance(requests, Message) else Requests(requests)
        call = self._start(found, taken)
        try:
            if found.server_streaming:
                async for answer in call:
                    self._was_reached = True
                    yield answer
            else:
                yield await call
        except grpc.RpcError as problem:
            raise self._translated(problem, method, None) from None
        finally:
            call.cancel()
            if isinstance(taken, Requests):
                taken.end()

    async def close(self) -> None:
        """Close the channel."""
        opened, self._channel = self._channel, None
        if opened is not None:
            await opened.close()

    def _open(self) -> Any:
        if self._channel is None:
            _claim()
            self._metadata = channel.credentials(self._place.token())
            self._channel = channel.open_channel(self._place.target)
        return self._channel

    def _start(self, found: Method, requests: Message | Requests[Message]) -> Any:
        opened = self._open()
        factory = {
            (True, True): opened.stream_stream,
            (True, False): opened.stream_unary,
            (False, True): opened.unary_stream,
        }[found.client_streaming, found.server_streaming]
        call = factory(
            found.path,
            request_serializer=found.request.SerializeToString,
            response_deserializer=found.response.FromString,
        )
        return call(requests, metadata=self._shown())

    def _shown(self) -> tuple[tuple[str, str], ...]:
        """What a call says about its caller."""
        authorization = passed_authorization()
        return ((channel.AUTHORIZATION, authorization),) if authorization else self._metadata

    def _translated(
        self, problem: grpc.RpcError, method: str, timeout: float | None
    ) -> errors.CallmeshError:
        error = status.from_rpc(problem)
        where = f"{self._place.target} (from {self._place.source})"
        if isinstance(error, errors.UnavailableError) and error.reason == "UNAVAILABLE":
            away = "is away" if self._was_reached else "cannot be reached"
            return errors.UnavailableError(
                f"the control plane at {where} {away}: start it with `callmesh up`, "
                "or name another with `CALLMESH_ENDPOINT`"
            )
        if isinstance(error, errors.UnimplementedError) and not status.is_typed(problem):
            return errors.UnimplementedError(
                f"what answers at {where} does not know `{method}`: it is the control plane of "
                "another version of callmesh, or of something else; install the same version here "
                "and there"
            )
        if isinstance(error, errors.DeadlineError) and timeout is not None:
            return errors.DeadlineError(f"`{method}` was not answered within {timeout:g} s")
        if isinstance(error, errors.UnauthenticatedError) and not self._metadata:
            return errors.UnauthenticatedError(
                f"the control plane at {where} wants a token: set `CALLMESH_TOKEN_FILE` to the "
                "`token` file in its state folder"
            )
        return error


def _claim() -> None:
    global _first_user
    if _first_user not in (0, os.getpid()):
        raise errors.FailedPreconditionError(
            "this process was forked from one that had used the mesh, and gRPC does not survive "
            'a fork: start it with `multiprocessing.get_context("spawn")`, or fork first'
        )
    _first_user = os.getpid()


def _find(method: str) -> Method:
    found = methods().get(method)
    if found is None:
        raise errors.UnimplementedError(f"there is no method `{method}`")
    return found
