"""Results that workers wrote to disk while there was no agent to take them."""

from __future__ import annotations

import logging
from pathlib import Path

from google.protobuf.message import DecodeError

from callmeshpb.v1 import node_pb2

SUFFIX = ".report"
log = logging.getLogger("callmesh.agent")


def read(folder: Path) -> tuple[node_pb2.AttemptReport, ...]:
    """Every whole result. What cannot be read is removed, and said in the log."""
    found = []
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        try:
            found.append(node_pb2.AttemptReport.FromString(path.read_bytes()))
        except (DecodeError, OSError) as problem:
            log.warning("`%s` is not a result and is removed: %s", path, problem)
            path.unlink(missing_ok=True)
    return tuple(found)


def remove(folder: Path, run: str, epoch: int, counter: int) -> None:
    """A result was delivered."""
    (folder / f"{run}.{epoch}.{counter}{SUFFIX}").unlink(missing_ok=True)
