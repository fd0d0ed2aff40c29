"""A limit for the bodies that an app takes."""

from __future__ import annotations

from typing import Any

from fastapi import HTTPException

from callmesh.app.extras.passthrough import Receive, Scope, Send

MAX_BODY = 16 * 1024 * 1024


class Bounded:
    """Refuses bodies over `MAX_BODY` with 413."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        seen = 0

        async def bounded() -> Any:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > MAX_BODY:
                raise HTTPException(413, f"the body is over {MAX_BODY >> 20} MiB")
            return message

        await self._app(scope, bounded, send)
