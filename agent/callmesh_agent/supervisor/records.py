"""What a new supervisor must know of the processes that it finds: one file each.

A record is written before its process starts (with pid 0), after it started,
and when it has ended. A file is replaced as a whole. Exits are flushed to the
disk; a start need not be, because no process survives what loses it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from google.protobuf.message import DecodeError

from callmesh_agent.supervisor.locks import file_name
from callmeshpb.v1 import supervisor_pb2


class Records:
    """The record files of one folder."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._folder = folder

    def write(self, record: supervisor_pb2.ProcessRecord, *, flush: bool = False) -> None:
        """Replace the record of its process."""
        path = self._path(record.process.process_id)
        draft = path.with_suffix(".new")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, record.SerializeToString())
            if flush:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        draft.replace(path)

    def read_all(self) -> Iterator[supervisor_pb2.ProcessRecord]:
        """Every record that is whole; one that power loss has torn is removed."""
        for path in sorted(self._folder.glob("*.record")):
            record = supervisor_pb2.ProcessRecord()
            with contextlib.suppress(DecodeError):
                record.ParseFromString(path.read_bytes())
            if record.process.process_id:
                yield record
            else:
                path.unlink()

    def remove(self, process_id: str) -> None:
        """Forget a process."""
        self._path(process_id).unlink(missing_ok=True)

    def clear(self) -> None:
        """Forget all, and remove the folder."""
        for path in self._folder.iterdir():
            path.unlink()
        self._folder.rmdir()

    def _path(self, process_id: str) -> Path:
        return self._folder / f"{file_name(process_id)}.record"
