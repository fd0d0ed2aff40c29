"""Credentials of whoever this code acts for: set for a block, sent with calls to the mesh."""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator

from callmesh import settings
from callmesh_wire.errors import UnauthenticatedError

MAX_CREDENTIALS = 8 * 1024

_metadata: contextvars.ContextVar[tuple[tuple[str, str], ...]] = contextvars.ContextVar(
    "callmesh_auth_metadata", default=()
)


@contextlib.contextmanager
def auth_metadata(*kv: tuple[str, str]) -> Iterator[None]:
    """Act for somebody inside the block: pairs such as ``("authorization", "Bearer …")``.

    They count after `callmesh.init_passthrough` only. The mesh knows one kind
    of credentials, its API token as a bearer. Raises `ValueError` without pairs.
    """
    if not kv:
        raise ValueError('`auth_metadata` needs a pair: `auth_metadata(("authorization", value))`')
    token = _metadata.set(tuple((name.lower(), value) for name, value in kv))
    try:
        yield
    finally:
        _metadata.reset(token)


def passed_authorization() -> str:
    """What a call to the mesh shows of the person it is made for; "" for this process's own.

    Raises `UnauthenticatedError` where there has to be one and is not.
    """
    if not settings.current().passthrough:
        return ""
    found = dict(_metadata.get()).get("authorization", "")
    if not found:
        raise UnauthenticatedError(
            "this process acts for its callers (`init_passthrough`), and this call has no "
            "`authorization`: make it inside `remote.auth_metadata`, or send the header"
        )
    if len(found) > MAX_CREDENTIALS or not (found.isascii() and found.isprintable()):
        raise UnauthenticatedError(
            f"`authorization` must be printable ASCII of at most {MAX_CREDENTIALS} characters"
        )
    return found
