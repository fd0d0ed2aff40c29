"""Log files that processes write to themselves, and how they are kept short."""

from __future__ import annotations

import os
from pathlib import Path

LONGEST = 64 * 1024 * 1024
KEPT = 16 * 1024 * 1024
_CHUNK = 1 << 20


def open_log(path: Path) -> int:
    """A descriptor that appends to the file, made with mode 0600 if absent."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)


def cut(path: Path, *, longest: int = LONGEST, kept: int = KEPT) -> bool:
    """Empty the file if it is over ``longest`` bytes; whether that was so.

    Its last ``kept`` bytes become ``<name>.1``. Writers append, so they go on
    at the new end; what they write between the copy and the cut is lost.
    """
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        return False
    if size <= longest:
        return False
    older = path.with_name(path.name + ".1")
    with path.open("rb") as source, older.open("wb") as target:
        source.seek(size - kept)
        # What is written meanwhile is not read: a fast writer would never let this end.
        for chunk in iter(lambda: source.read(min(_CHUNK, size - source.tell())), b""):
            target.write(chunk)
    os.truncate(path, 0)
    return True
