"""Times and sizes as a person reads them."""

from __future__ import annotations

import time
from typing import Any


def since(message: Any, field: str, now: float | None = None) -> str:
    """How long ago a message's time is: ``3m``; "" where it is not set."""
    if not message.HasField(field):
        return ""
    return span((time.time() if now is None else now) - seconds(message, field))


def between(message: Any, start: str, end: str) -> str:
    """From one of a message's times to another; "" where one is not set."""
    if not (message.HasField(start) and message.HasField(end)):
        return ""
    return span(seconds(message, end) - seconds(message, start))


def seconds(message: Any, field: str) -> float:
    """A message's time as epoch seconds."""
    return float(getattr(message, field).ToNanoseconds()) / 1e9


def span(length: float) -> str:
    """Seconds in one or two units: ``12 ms``, ``3.4 s``, ``5 m 12 s``, ``2 d 3 h``."""
    length = max(length, 0.0)
    if length < 0.9995:
        return f"{length * 1000:.0f} ms"
    if length < 9.95:
        return f"{length:.1f} s"
    whole = round(length)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} m {whole % 60} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60} m"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


def size(count: int) -> str:
    """Bytes: ``512 MiB``."""
    value = float(count)
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:
            return f"{value:.0f} {unit}"
        value /= 1024
    return f"{value:.1f} GiB"
