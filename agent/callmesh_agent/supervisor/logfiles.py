"""Log files that processes write to themselves, and how they are kept short."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

LONGEST = 64 * 1024 * 1024
KEPT = 16 * 1024 * 1024
_BLOCK = 512
_KEEP_SIZE, _PUNCH_HOLE = 1, 2


def open_log(path: Path) -> int:
    """A descriptor that appends to the file, made with mode 0600 if absent."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)


def cut(path: Path, *, longest: int = LONGEST, kept: int = KEPT) -> bool:
    """Free what the file has over ``longest`` bytes on disk; whether that was so.

    Its last ``kept`` bytes stay where they are, and the file as long as it was:
    what points into it goes on to, and writers notice nothing. Where the file
    system cannot do that, the file is emptied.
    """
    try:
        found = path.stat()
    except FileNotFoundError:
        return False
    if found.st_blocks * _BLOCK <= longest:
        return False
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        if not _punched(descriptor, max(0, found.st_size - kept)):
            os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)
    return True


def _punched(descriptor: int, length: int) -> bool:
    libc = ctypes.CDLL(None, use_errno=True)
    mode = _KEEP_SIZE | _PUNCH_HOLE
    libc.fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
    return length == 0 or libc.fallocate(descriptor, mode, 0, length) == 0
