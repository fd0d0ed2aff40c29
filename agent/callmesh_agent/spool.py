"""Results that wait on disk: workers write there without an agent, an agent without a server."""

from __future__ import annotations

import logging
from pathlib import Path

from google.protobuf.message import DecodeError

from callmesh_wire.diskfile import write_whole
from callmeshpb.v1 import common_pb2, node_pb2

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


def write(folder: Path, report: node_pb2.AttemptReport) -> None:
    """Keep a result, under the name that its worker would give it. Raises OSError."""
    write_whole(folder / _name(report.run, report.fence), report.SerializeToString())


def remove(folder: Path, run: str, epoch: int, counter: int) -> None:
    """A result was delivered."""
    fence = common_pb2.Fence(epoch=epoch, counter=counter)
    (folder / _name(run, fence)).unlink(missing_ok=True)


def _name(run: str, fence: common_pb2.Fence) -> str:
    return f"{run}.{fence.epoch}.{fence.counter}{SUFFIX}"
