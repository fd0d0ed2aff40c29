"""Files and directories by reference. Not there yet: tasks take paths and bytes."""

from __future__ import annotations

from typing import Any

_LATER = ("DataFrame", "Dir", "File")


def __getattr__(name: str) -> Any:
    if name in _LATER:
        # Not an AttributeError: its text would not reach who writes `from … import`.
        raise ImportError(f"`callmesh.io.{name}` is not there yet: pass bytes or a path instead")
    raise AttributeError(f"module `{__name__}` has no attribute `{name}`")
