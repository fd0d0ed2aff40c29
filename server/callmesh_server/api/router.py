"""The table of methods, and its two doors: in this process, and gRPC.

Errors leave through one edge: a handler raises what `callmesh_wire.errors`
declares, and anything else is a defect, logged here and answered INTERNAL.
"""

from __future__ import annotations

import hmac
import logging
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Mapping,
    Sequence,
)
from dataclasses import dataclass
from functools import partial
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import DecodeError, Message

from callmesh_server.api.caller import USER, Caller, CallerKind
from callmesh_wire import errors, status
from callmesh_wire.channel import AUTHORIZATION
from callmesh_wire.methods import Method, methods

log = logging.getLogger(__name__)

_REFUSED = errors.UnauthenticatedError(
    "this address takes calls with a token only: send `authorization: Bearer TOKEN` with the "
    "content of the file `token` in the mesh's state folder, or use its Unix socket"
)

_NOT_JOINED = errors.UnauthenticatedError(
    "this join token is not the mesh's: copy the file `join.token` of the server's state folder "
    "to the node, and name it with `--join-token-file`"
)
CallerOf = Callable[[grpc.aio.ServicerContext], Caller]
NodeCallerOf = Callable[[Method, grpc.aio.ServicerContext], Caller]


@dataclass(frozen=True, slots=True)
class _Route:
    method: Method
    handler: Callable[..., Any]


class Router:
    """Every method of `callmesh_wire.methods` with the handler that serves it."""

    def __init__(self, handlers: Mapping[str, Sequence[object]]) -> None:
        """``handlers`` by service name; one of each has a method named `Method.handler`."""
        self._routes = {
            name: _Route(method, _handler_of(handlers[method.service], method))
            for name, method in methods().items()
        }

    async def call(
        self, method: str, requests: Message | AsyncIterator[Message], caller: Caller
    ) -> AsyncGenerator[Message]:
        """Call ``Service/Name`` in this process; a unary answer is one item.

        Raises a `CallmeshError`. Messages are handed over, not copied: neither
        side changes one that it has passed on.
        """
        route = self._find(method)
        responses = self._respond(route, requests, caller)
        try:
            async for response in responses:
                yield response
        except errors.CallmeshError:
            raise
        except Exception as defect:
            raise _internal(method, defect) from defect
        finally:
            await responses.aclose()

    async def call_bytes(
        self, method: str, requests: AsyncIterator[bytes], caller: Caller
    ) -> AsyncIterator[bytes]:
        """`call` with serialised messages, as an agent forwards them."""
        kind = self._find(method).method.request
        responses = self.call(method, _parsed(requests, kind, method), caller)
        try:
            async for response in responses:
                yield response.SerializeToString()
        finally:
            await responses.aclose()

    def register(
        self,
        server: grpc.aio.Server,
        *,
        token: str = "",
        required: bool = True,
        more: Mapping[str, grpc.RpcMethodHandler] | None = None,
    ) -> None:
        """Serve gRPC. With ``token``, whatever comes with another is refused.

        And what comes without one, where it is ``required``. ``more`` are
        handlers of other services by path, behind the same door.
        """
        table = {
            route.method.path: self._handler(route, _local_caller(route.method))
            for route in self._routes.values()
        }
        door = _Door({**table, **(more or {})}, token, _REFUSED, required=required)
        server.add_generic_rpc_handlers((door,))

    def register_nodes(
        self, server: grpc.aio.Server, *, token: str, names: Iterable[str], caller_of: NodeCallerOf
    ) -> None:
        """Serve the methods of ``names`` to agents, who show the join token."""
        table = {
            route.method.path: self._handler(route, partial(caller_of, route.method))
            for name, route in self._routes.items()
            if name in names
        }
        server.add_generic_rpc_handlers((_Door(table, token, _NOT_JOINED, required=True),))

    def _find(self, method: str) -> _Route:
        route = self._routes.get(method)
        if route is None:
            raise errors.UnimplementedError(
                f"this version of the control plane has no method `{method[:200]}`: "
                "install the same version of callmesh here and there"
            )
        return route

    async def _respond(
        self, route: _Route, requests: Message | AsyncIterator[Message], caller: Caller
    ) -> AsyncGenerator[Message]:
        argument: Any = requests
        if route.method.client_streaming:
            argument = _one(requests) if isinstance(requests, Message) else requests
        elif not isinstance(requests, Message):
            argument = await anext(requests, None)
            if argument is None:
                raise errors.InvalidArgumentError(
                    f"`{route.method.name}` was called without a request"
                )
        if not route.method.server_streaming:
            yield await route.handler(argument, caller)
            return
        responses = route.handler(argument, caller)
        try:
            async for response in responses:
                yield response
        finally:
            await responses.aclose()

    def _handler(self, route: _Route, caller_of: CallerOf) -> grpc.RpcMethodHandler:
        method = route.method
        unary = _unary(route, caller_of)
        stream = _stream(route, caller_of)
        make = {
            (False, False): grpc.unary_unary_rpc_method_handler,
            (False, True): grpc.unary_stream_rpc_method_handler,
            (True, False): grpc.stream_unary_rpc_method_handler,
            (True, True): grpc.stream_stream_rpc_method_handler,
        }[method.client_streaming, method.server_streaming]
        return make(
            stream if method.server_streaming else unary,
            request_deserializer=method.request.FromString,
            response_serializer=_serialised,
        )


def _serialised(response: Message | bytes) -> bytes:
    """A handler may give a response that it has serialised already."""
    return response if isinstance(response, bytes) else response.SerializeToString()


def _local_caller(method: Method) -> CallerOf:
    caller = Caller(CallerKind.NODE) if method.name == "Session" else USER
    return lambda _context: caller


def _unary(route: _Route, caller_of: CallerOf) -> Callable[..., Awaitable[Message]]:
    handler, name = route.handler, route.method.name

    async def behaviour(request: Any, context: grpc.aio.ServicerContext) -> Message:
        try:
            return await handler(request, caller_of(context))
        except errors.CallmeshError as problem:
            await refuse(context, problem)
        except Exception as defect:  # noqa: BLE001  the process boundary
            await refuse(context, _internal(name, defect))
        raise AssertionError("unreachable: abort raises")

    return behaviour


def _stream(route: _Route, caller_of: CallerOf) -> Callable[..., AsyncIterator[Message]]:
    handler, name = route.handler, route.method.name

    async def behaviour(request: Any, context: grpc.aio.ServicerContext) -> AsyncIterator[Message]:
        responses = None
        try:
            responses = handler(request, caller_of(context))
            async for response in responses:
                yield response
        except errors.CallmeshError as problem:
            await refuse(context, problem)
        except Exception as defect:  # noqa: BLE001  the process boundary
            await refuse(context, _internal(name, defect))
        finally:
            if responses is not None:
                await responses.aclose()

    return behaviour


class _Door(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Finds a call's handler; without the right token it finds only a refusal."""

    def __init__(
        self,
        table: Mapping[str, grpc.RpcMethodHandler],
        token: str,
        refusal: errors.UnauthenticatedError,
        *,
        required: bool,
    ) -> None:
        """``refusal`` is what those hear who do not show the token."""
        self._table = table
        self._token = token
        self._required = required
        self._refusal = grpc.stream_stream_rpc_method_handler(_refuser(refusal))

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        if self._token and not self._knows(handler_call_details):
            return self._refusal
        return self._table.get(handler_call_details.method)

    def _knows(self, details: grpc.HandlerCallDetails) -> bool:
        given: str | bytes | None = None
        for key, value in details.invocation_metadata or ():
            if key == AUTHORIZATION:
                given = value
        if given is None:
            return not self._required
        return is_bearer(given, self._token)


def is_bearer(authorization: str | bytes, token: str) -> bool:
    """Whether an authorization is that of the holder of a token."""
    given = authorization if isinstance(authorization, bytes) else authorization.encode()
    return hmac.compare_digest(given, f"Bearer {token}".encode())


def _refuser(problem: errors.UnauthenticatedError) -> Callable[..., AsyncIterator[bytes]]:
    async def behaviour(
        _requests: object, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[bytes]:
        await refuse(context, problem)
        yield b""

    return behaviour


async def refuse(context: grpc.aio.ServicerContext, problem: errors.CallmeshError) -> None:
    """End a gRPC call with an error. Always raises."""
    await context.abort(
        status.grpc_code(problem),
        problem.message,
        trailing_metadata=((status.DETAILS_KEY, status.details(problem)),),
    )


def _internal(method: str, defect: Exception) -> errors.InternalError:
    log.error("a defect in %s", method, exc_info=defect)
    return errors.InternalError(
        f"`{method}` failed by a defect of the server ({type(defect).__name__}): "
        "its log has the traceback"
    )


def _handler_of(objects: Sequence[object], method: Method) -> Callable[..., Any]:
    for each in objects:
        handler = getattr(each, method.handler, None)
        if handler is not None:
            return handler  # type: ignore[no-any-return]
    raise LookupError(f"nothing serves {method.path}")


async def _one(request: Message) -> AsyncIterator[Message]:
    yield request


async def _parsed(
    requests: AsyncIterator[bytes], kind: type[Message], method: str
) -> AsyncIterator[Message]:
    async for payload in requests:
        try:
            yield kind.FromString(payload)
        except DecodeError:
            raise errors.InvalidArgumentError(
                f"what was sent to `{method}` is not a {kind.DESCRIPTOR.name}"
            ) from None
