"""Files, directories and data frames by reference: what a task hands on without holding it.

Their content is in the mesh's blob store, named by its SHA-256; a value of one
of these types is a few words that say where. In local mode the store is a
folder beside the state folder.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from callmesh.io._dir import Dir
    from callmesh.io._file import File
    from callmesh.io._frame import DataFrame

_PLACES = {"DataFrame": "_frame", "Dir": "_dir", "File": "_file"}


def __getattr__(name: str) -> Any:
    place = _PLACES.get(name)
    if place is None:
        raise AttributeError(f"module `{__name__}` has no attribute `{name}`")
    import importlib

    return getattr(importlib.import_module(f"{__name__}.{place}"), name)


__all__ = ["DataFrame", "Dir", "File"]
