"""What the kernel knows of processes: `/proc`, pidfds, subreaping."""

from __future__ import annotations

import contextlib
import os
import signal
from dataclasses import dataclass
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36
_STATE = 0
_START_TICKS = 19
_PARENT = 1
_SESSION = 3


def become_subreaper() -> None:
    """Make this process the parent of every descendant whose own parent ends."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"prctl(PR_SET_CHILD_SUBREAPER): {os.strerror(code)}")


def start_ticks(pid: int) -> int:
    """When the process started, in clock ticks since boot; 0 when there is none."""
    fields = _stat(pid)
    return int(fields[_START_TICKS]) if fields else 0


def is_alive(pid: int) -> bool:
    """Whether the process exists and has not ended."""
    fields = _stat(pid) if pid > 0 else []
    return bool(fields) and fields[_STATE] not in "ZX"


def environment(pid: int) -> dict[str, str]:
    """The environment that the process was started with."""
    pairs = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return dict(os.fsdecode(pair).split("=", 1) for pair in pairs if b"=" in pair)


def children(parent: int) -> list[int]:
    """Processes, living or not yet reaped, that have this parent."""
    own = str(parent)
    return [pid for pid in _pids() if (fields := _stat(pid)) and fields[_PARENT] == own]


def holders(path: Path) -> list[int]:
    """Processes that have ``path`` open, leaders of a session first."""
    try:
        wanted = path.stat()
    except FileNotFoundError:
        return []
    found = [pid for pid in _pids() if pid != os.getpid() and _has_open(pid, wanted)]
    return sorted(found, key=lambda pid: (not _leads_session(pid), pid))


def open_pidfd(pid: int, ticks: int) -> int:
    """A pidfd of the process that started at ``ticks``. Raises ProcessLookupError."""
    pidfd = os.pidfd_open(pid)
    if start_ticks(pid) != ticks:
        os.close(pidfd)
        raise ProcessLookupError(pid)
    return pidfd


def kill_group(leader: int, ticks: int) -> None:
    """KILL what is left in the process group of a process that ended.

    Its number cannot have been given to another process while the group has
    members; where it was given anew, there is nothing left to kill.
    """
    if start_ticks(leader) in (0, ticks):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(leader, signal.SIGKILL)


@dataclass(frozen=True, slots=True)
class Ended:
    """How a child ended."""

    # Exit code, or minus the signal's number.
    status: int
    # Most resident memory that it had, bytes.
    peak: int


def reap(pid: int) -> Ended | None:
    """How an ended process ended; None where it is not this process's child."""
    try:
        found, status, used = os.wait4(pid, os.WNOHANG)
    except ChildProcessError:
        return None
    return Ended(os.waitstatus_to_exitcode(status), used.ru_maxrss * 1024) if found else None


def memory_kills() -> int:
    """How many processes the kernel has killed for memory since it was started."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/vmstat").read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0


def status_of(ended: os.waitid_result) -> int:
    """Exit code, or minus the signal's number."""
    return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]  # noqa: PTH208 - fast


def _stat(pid: int) -> list[str]:
    """The fields of `/proc/<pid>/stat` after the name, from the state on."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return []
    return text.rpartition(")")[2].split()


def _leads_session(pid: int) -> bool:
    fields = _stat(pid)
    return bool(fields) and fields[_SESSION] == str(pid)


def _has_open(pid: int, wanted: os.stat_result) -> bool:
    folder = f"/proc/{pid}/fd"
    try:
        for name in os.listdir(folder):  # noqa: PTH208 - fast
            found = os.stat(f"{folder}/{name}")  # noqa: PTH116 - fast
            if (found.st_ino, found.st_dev) == (wanted.st_ino, wanted.st_dev):
                return True
    except OSError:
        return False  # another user's, or gone meanwhile
    return False
