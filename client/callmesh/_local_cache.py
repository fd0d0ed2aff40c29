"""Results that local mode keeps, in the folder `local-mode/cache` beside the mesh's state.

They are opened with pickle: the folder is this user's alone.
"""

from __future__ import annotations

import contextlib
import contextvars
import hashlib
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from google.protobuf.message import DecodeError

from callmesh import _places
from callmesh._caching import policy_of
from callmeshpb.v1 import common_pb2, scheduler_pb2

if TYPE_CHECKING:
    from callmesh.task import Task

_use: contextvars.ContextVar[scheduler_pb2.CacheUse] = contextvars.ContextVar(
    "callmesh_cache_use", default=scheduler_pb2.CACHE_USE_UNSPECIFIED
)


@contextlib.contextmanager
def used(use: scheduler_pb2.CacheUse) -> Iterator[None]:
    """Runs that are made inside do this with kept results; said once, it holds for all below."""
    token = _use.set(use or _use.get())
    try:
        yield
    finally:
        _use.reset(token)


@dataclass(frozen=True, slots=True)
class Slot:
    """Where one result is kept; without a path nowhere. ``max_age`` is in seconds, 0 for none."""

    path: Path | None = None
    max_age: float = 0.0
    reads: bool = True

    def load(self) -> scheduler_pb2.Run | None:
        """The run whose result is kept, with its outputs alone."""
        if self.path is None or not self.reads:
            return None
        try:
            age = time.time() - self.path.stat().st_mtime
            if self.max_age and age > self.max_age:
                return None
            return scheduler_pb2.Run.FromString(self.path.read_bytes())
        except (FileNotFoundError, DecodeError):
            return None

    def keep(self, run: scheduler_pb2.Run) -> None:
        """Keep the result of a run, whole or not at all."""
        if self.path is None:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = self.path.with_name(f".{self.path.name}.{os.getpid()}.partial")
        draft.write_bytes(run.SerializeToString())
        draft.replace(self.path)


def slot_of(task: Task[..., Any], inputs: Mapping[str, common_pb2.Value]) -> Slot:
    """The slot of a call's result, by the task's policy."""
    if _use.get() == scheduler_pb2.CACHE_USE_DISABLE:
        return Slot()
    policy = policy_of(task)
    if not policy.version:
        return Slot()
    found = hashlib.sha256(f"{task.name}\0{policy.version}\0".encode())
    for name in sorted(set(inputs) - set(policy.ignored_inputs)):
        content = inputs[name].SerializeToString(deterministic=True)
        found.update(f"{name}\0{len(content)}\0".encode() + content)
    folder = _places.local_dir(os.environ) / "cache"
    max_age = policy.max_age.ToTimedelta().total_seconds()
    return Slot(
        folder / found.hexdigest(), max_age, _use.get() != scheduler_pb2.CACHE_USE_OVERWRITE
    )
