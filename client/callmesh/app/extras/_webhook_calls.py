"""One bounded HTTP call of a webhook to another app."""

from __future__ import annotations

import asyncio
import http.client
import json
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from callmesh.errors import DeadlineError, UnavailableError

TIMEOUT = 30.0
MAX_ANSWER = 10 * 1024 * 1024


async def call(
    endpoint: str, method: str, path: str, payload: Any, query: Any, agent: str
) -> tuple[int, Any]:
    """Status and body: JSON where it is, else text. Redirects are not followed.

    Raises `UnavailableError` where the app cannot be reached or answers too
    much, `DeadlineError` after 30 s.
    """
    bare, _, own_query = path.partition("?")
    target = "/" + quote(bare.lstrip("/"), safe="/%:@!$&'()*+,;=~-._")
    queries = (quote(own_query, safe="=&%+,;/:@!$'()*~-._?"), urlencode(query or {}))
    target = "?".join(filter(None, (target, "&".join(filter(None, queries)))))
    body = json.dumps(payload).encode() if payload is not None else None
    return await asyncio.to_thread(_exchange, endpoint, method, target, body, agent)


def _exchange(
    endpoint: str, method: str, target: str, body: bytes | None, agent: str
) -> tuple[int, Any]:
    place = urlsplit(endpoint)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=TIMEOUT)
    headers = {"User-Agent": agent, "Accept": "application/json, */*"}
    if body is not None:
        headers["Content-Type"] = "application/json"
    try:
        connection.request(method, target, body, headers)
        answer = connection.getresponse()
        data = answer.read(MAX_ANSWER + 1)
    except TimeoutError:
        raise DeadlineError(f"`{endpoint}` did not answer within {TIMEOUT:g} s") from None
    except (OSError, http.client.HTTPException) as problem:
        raise UnavailableError(f"`{endpoint}` cannot be called: {problem}") from None
    finally:
        connection.close()
    if len(data) > MAX_ANSWER:
        raise UnavailableError(f"the answer of `{endpoint}` is over {MAX_ANSWER >> 20} MiB")
    text = data.decode(errors="replace")
    try:
        return answer.status, json.loads(text)
    except ValueError:
        return answer.status, text
