"""Flyte's `prefetch`: not supported. Every name of it says so when it is used."""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(f"module `{__name__}` has no attribute `{name}`")
    # Not an AttributeError: its text would not reach who writes `from … import`.
    raise ImportError(
        f"`{__name__}.{name}` is not supported: load the model in the app's `on_startup`, "
        "or put it into a folder that the app reads"
    )
