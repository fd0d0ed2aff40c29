"""W3C Trace Context (https://www.w3.org/TR/trace-context/): made and read.

The context of a request is stored on its record and handed down in messages,
headers and environments, so that one request stays one trace.
"""

from __future__ import annotations

import re
from collections.abc import Callable

HEADER = "traceparent"
_FORM = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}\Z")


def new_traceparent(random_bytes: Callable[[int], bytes]) -> str:
    """The context of a new, sampled trace. ``random_bytes(n)`` gives n bytes."""
    return f"00-{random_bytes(16).hex()}-{random_bytes(8).hex()}-01"


def trace_id(traceparent: str) -> str:
    """The 32 hex digits of a context's trace, or "" if it is malformed."""
    match = _FORM.match(traceparent)
    return match.group(1) if match else ""
