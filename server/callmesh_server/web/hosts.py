"""Which Host and Origin headers the pages answer to. Pure.

A page that is asked for under a foreign name (DNS rebinding) or by a script of
a foreign origin tells nothing about the mesh, not even what exists.
"""

from __future__ import annotations

from urllib.parse import urlsplit

OWN_HOSTS = frozenset({"localhost", "127.0.0.1", "[::1]"})
_SUFFIX = ".localhost"


def host_name(header: str) -> str:
    """A Host header's name in lower case, without its port and a final dot."""
    name = header.strip().lower()
    head, colon, port = name.rpartition(":")
    if colon and port.isdigit() and not head.endswith(":"):
        name = head
    return name.removesuffix(".")


def is_ours(host: str) -> bool:
    """Whether a host name (from `host_name`) can only mean this machine."""
    return host in OWN_HOSTS or (host.endswith(_SUFFIX) and bool(app_of(host)))


def app_of(host: str) -> str:
    """The mesh name in ``<mesh name>.localhost``; empty for the pages' own hosts."""
    return host.removesuffix(_SUFFIX) if host.endswith(_SUFFIX) else ""


def origin_is_ours(origin: str) -> bool:
    """Whether an Origin header names this machine. ``null`` does not."""
    parts = urlsplit(origin)
    return parts.scheme in ("http", "https") and is_ours(host_name(parts.netloc))
