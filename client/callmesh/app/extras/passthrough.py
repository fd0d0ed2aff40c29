"""A middleware for apps that act for whoever calls them."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any

from callmesh._passthrough import auth_metadata

if TYPE_CHECKING:
    from starlette.requests import HTTPConnection

HeaderExtractor = Callable[["HTTPConnection"], "tuple[str, str] | None"]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

log = logging.getLogger("callmesh")


class FastAPIPassthroughAuthMiddleware:
    """Passes a request's credentials on to what its handler asks of the mesh.

    ``app.add_middleware(FastAPIPassthroughAuthMiddleware, excluded_paths={"/health"})``.
    A request, or a WebSocket, in which no extractor finds anything is refused
    with 401; which credentials are good the mesh says when the handler calls it
    (after `callmesh.init_passthrough`). They are not sent to other apps.
    """

    def __init__(
        self,
        app: Callable[[Scope, Receive, Send], Awaitable[None]],
        header_extractors: Sequence[HeaderExtractor] | None = None,
        excluded_paths: Collection[str] | None = None,
    ) -> None:
        """``excluded_paths`` need no credentials, and get none passed on."""
        self.app = app
        self.header_extractors: Sequence[HeaderExtractor] = (
            (self.extract_authorization_header, self.extract_cookie_header)
            if header_extractors is None
            else tuple(header_extractors)
        )
        self.excluded_paths = frozenset(excluded_paths or ())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] not in ("http", "websocket") or scope["path"] in self.excluded_paths:
            await self.app(scope, receive, send)
            return
        found = self._credentials(scope)
        if found:
            with auth_metadata(*found):
                await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await _refuse(scope, receive, send)

    def _credentials(self, scope: Scope) -> list[tuple[str, str]]:
        from starlette.requests import HTTPConnection

        connection = HTTPConnection(scope)
        found = []
        for extract in self.header_extractors:
            try:
                pair = extract(connection)
            except Exception as problem:  # noqa: BLE001 - the user's extractor may raise anything
                name = getattr(extract, "__name__", repr(extract))
                log.warning("header extractor `%s` raised %s", name, type(problem).__name__)
                continue
            if pair is not None:
                found.append(pair)
        return found

    @staticmethod
    def extract_authorization_header(request: HTTPConnection) -> tuple[str, str] | None:
        """The Authorization header."""
        return _header(request, "authorization")

    @staticmethod
    def extract_cookie_header(request: HTTPConnection) -> tuple[str, str] | None:
        """The Cookie header."""
        return _header(request, "cookie")

    @staticmethod
    def extract_custom_header(header_name: str) -> HeaderExtractor:
        """An extractor of another header, such as ``x-api-key``."""
        name = header_name.lower()

        def extract(request: HTTPConnection) -> tuple[str, str] | None:
            return _header(request, name)

        extract.__name__ = f"extract_{name.replace('-', '_')}_header"
        return extract


def _header(request: HTTPConnection, name: str) -> tuple[str, str] | None:
    value = request.headers.get(name)
    return (name, value) if value else None


async def _refuse(scope: Scope, receive: Receive, send: Send) -> None:
    from starlette.responses import JSONResponse

    answer = JSONResponse(
        {"detail": "Authentication credentials required"},
        status_code=401,
        headers={"WWW-Authenticate": "Bearer"},
    )
    await answer(scope, receive, send)
