"""Until when there is time: an attempt's limit, and the deadline of the call being served.

What is called from there has no more time than that, over as many hops as
there are: gRPC carries the deadline, the callee's own calls are capped by it.
"""

from __future__ import annotations

import contextvars
import inspect
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import grpc
import grpc.aio

_of_call: contextvars.ContextVar[float | None] = contextvars.ContextVar(
    "callmesh_deadline", default=None
)


def capped(timeout: float | None) -> float | None:
    """A call's timeout, in seconds, no longer than there is time; None for no limit."""
    from callmesh import _runtime

    ends = [each for each in (_of_call.get(), _runtime.deadline()) if each is not None]
    if not ends:
        return timeout
    left = max(0.0, min(ends) - time.monotonic())
    return left if timeout is None else min(timeout, left)


class ServerDeadlines(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]
    """Lets the code that serves a call know until when its caller waits."""

    async def intercept_service(
        self,
        continuation: Callable[
            [grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any]]
        ],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any]:
        """The method's handler, in a context that knows the deadline."""
        handler: Any = await continuation(handler_call_details)
        if handler is None:
            # gRPC answers that there is no such method.
            return handler  # type: ignore[return-value]
        make = {
            (False, False): grpc.unary_unary_rpc_method_handler,
            (False, True): grpc.unary_stream_rpc_method_handler,
            (True, False): grpc.stream_unary_rpc_method_handler,
            (True, True): grpc.stream_stream_rpc_method_handler,
        }[handler.request_streaming, handler.response_streaming]
        behaviour = (
            handler.unary_unary
            or handler.unary_stream
            or handler.stream_unary
            or handler.stream_stream
        )
        return make(
            _knowing(behaviour, streams=handler.response_streaming),
            handler.request_deserializer,
            handler.response_serializer,
        )


def _knowing(behaviour: Callable[[Any, Any], Any], *, streams: bool) -> Callable[[Any, Any], Any]:
    """A method that knows its deadline; sync or async as it was."""
    if inspect.iscoroutinefunction(behaviour):

        async def answer(request: Any, context: Any) -> Any:
            _enter(context)
            return await behaviour(request, context)

        return answer
    if inspect.isasyncgenfunction(behaviour):

        async def answers(request: Any, context: Any) -> AsyncIterator[Any]:
            _enter(context)
            async for each in behaviour(request, context):
                yield each

        return answers
    if not streams:

        def sync_answer(request: Any, context: Any) -> Any:
            _enter(context)
            return behaviour(request, context)

        return sync_answer

    def sync_answers(request: Any, context: Any) -> Iterator[Any]:
        _enter(context)
        found = iter(behaviour(request, context))
        while True:
            # Each item may be made in another thread.
            _enter(context)
            try:
                each = next(found)
            except StopIteration:
                return
            yield each

    return sync_answers


def _enter(context: Any) -> None:
    left = context.time_remaining()
    _of_call.set(None if left is None else time.monotonic() + left)
