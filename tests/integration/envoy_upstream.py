"""An app to be called through Envoy: `python envoy_upstream.py NAME PORT|SOCKET`.

Raw ASGI under uvicorn. It says who it is, counts the POSTs that it has seen,
and has a path for each way in which a call can last or end.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import Any

import uvicorn

NAME, PLACE = sys.argv[1:]
seen: list[str] = []


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] == "websocket":
        await _echo(scope, receive, send)
    elif scope["type"] == "http":
        await _http(scope, receive, send)


async def _http(scope: dict[str, Any], receive: Any, send: Any) -> None:
    path = scope["path"]
    if scope["method"] == "POST":
        body = b""
        while (message := await receive()).get("more_body"):
            body += message["body"]
        seen.append((body + message["body"]).decode())
    if path == "/die":
        os._exit(1)
    if path == "/slow":
        await asyncio.sleep(float(scope["query_string"].decode() or "1"))
    if path == "/events":
        await _events(int(scope["query_string"].decode() or "5"), send)
        return
    status = 503 if path == "/503" else 200
    headers = {key.decode(): value.decode() for key, value in scope["headers"]}
    body = json.dumps({"name": NAME, "path": path, "seen": seen, "headers": headers}).encode()
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [(b"content-type", b"application/json"), (b"x-app", NAME.encode())],
        }
    )
    await send({"type": "http.response.body", "body": body})


async def _events(count: int, send: Any) -> None:
    headers = [(b"content-type", b"text/event-stream")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for number in range(count):
        event = f"data: {NAME} {number}\n\n".encode()
        await send({"type": "http.response.body", "body": event, "more_body": True})
        await asyncio.sleep(0.05)
    await send({"type": "http.response.body", "body": b""})


async def _echo(scope: dict[str, Any], receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": f"{NAME} {message['text']}"})


if __name__ == "__main__":
    place: dict[str, Any] = {"port": int(PLACE)} if PLACE.isdigit() else {"uds": PLACE}
    uvicorn.run(app, **place, log_level="error", timeout_keep_alive=5)
