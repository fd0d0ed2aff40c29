"""Which of the node's processes a process id belongs to."""

from __future__ import annotations

from pathlib import Path

from callmeshpb.v1 import supervisor_pb2

_PARENT, _GROUP, _SESSION = 1, 2, 3
_MAX_DEPTH = 64


class Identities:
    """The processes that the supervisor started, by pid.

    A process is known as what started it: by its own pid, its session or group
    (each process of ours leads one), or an ancestor.
    """

    def __init__(self) -> None:
        self._by_pid: dict[int, supervisor_pb2.Process] = {}

    def add(self, process: supervisor_pb2.Process) -> None:
        """A process runs."""
        self._by_pid[process.pid] = process

    def remove(self, process: supervisor_pb2.Process) -> None:
        """It has ended."""
        known = self._by_pid.get(process.pid)
        if known is not None and known.process_id == process.process_id:
            del self._by_pid[process.pid]

    def replace(self, processes: list[supervisor_pb2.Process]) -> None:
        """A supervisor said everything that it knows."""
        self._by_pid = {each.pid: each for each in processes if each.running}

    def running(self) -> list[supervisor_pb2.Process]:
        """Every process that runs."""
        return list(self._by_pid.values())

    def of(self, pid: int) -> supervisor_pb2.Process | None:
        """What a process belongs to, or None for a stranger."""
        for _ in range(_MAX_DEPTH):
            found = self._by_pid.get(pid)
            if found is not None:
                return found
            fields = _stat(pid)
            if not fields:
                return None
            for each in (_SESSION, _GROUP):
                found = self._by_pid.get(int(fields[each]))
                if found is not None:
                    return found
            pid = int(fields[_PARENT])
            if pid <= 1:
                return None
        return None


def _stat(pid: int) -> list[str]:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return []
    return text.rpartition(")")[2].split()
