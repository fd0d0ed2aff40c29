"""What files and directories by reference have in common."""

from __future__ import annotations

import abc
from pathlib import Path
from typing import Any

import pydantic

from callmesh._sync import bridge
from callmesh.io import _store

# Before the name of what has no content yet.
PENDING = "pending:"


class _Reference(pydantic.BaseModel):
    """Where content is, and what it is called."""

    path: str
    name: str | None = None
    format: str = ""
    hash: str | None = None

    def __class_getitem__(cls, _content: Any) -> Any:
        # What the content is stands in no field.
        return cls

    @abc.abstractmethod
    async def download(self, local_path: str | Path | None = None) -> str:
        """Write it to this machine; the path of the copy."""

    def download_sync(self, local_path: str | Path | None = None) -> str:
        """`download` for blocking code."""
        return bridge().run(self.download(local_path))

    async def exists(self) -> bool:
        """Its content is there."""
        return not self._is_pending() and await _store.exists(self.path)

    def exists_sync(self) -> bool:
        """`exists` for blocking code."""
        return bridge().run(self.exists())

    def _is_pending(self) -> bool:
        return self.path.startswith(PENDING)
