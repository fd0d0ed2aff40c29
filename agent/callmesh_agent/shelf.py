"""What is kept on disk for a next time: which of it has to go, and how it goes.

An entry goes in two steps: it is renamed, at once and on the loop, so that
whoever needs it from then on makes it anew; its bytes are freed later.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

TRASH = ".trash-"
# Somebody may be about to start with what was used so recently, in seconds.
GRACE = 60.0


@dataclass(frozen=True, slots=True)
class Entry:
    """One of many. ``used_at`` in epoch seconds."""

    size: int
    used_at: float


def surplus(
    entries: Mapping[str, Entry],
    in_use: Collection[str],
    now: float,
    *,
    cap: int,
    keep_seconds: float | None = None,
) -> list[str]:
    """What has to go: the longest unused first, until the rest is within ``cap`` bytes.

    What was not used for ``keep_seconds`` goes in any case, what is in use never,
    nor what was used within `GRACE`.
    """
    total = sum(each.size for each in entries.values())
    found = []
    for name, entry in sorted(entries.items(), key=lambda each: each[1].used_at):
        age = now - entry.used_at
        is_old = keep_seconds is not None and age > keep_seconds
        if name in in_use or age < GRACE or not (is_old or total > cap):
            continue
        total -= entry.size
        found.append(name)
    return found


def discard(folder: Path, names: Iterable[str]) -> list[Path]:
    """Take entries away from those who look for them; what is left to be freed."""
    trash = []
    for name in names:
        place = folder / f"{TRASH}{name}"
        with contextlib.suppress(OSError):
            shutil.rmtree(place, ignore_errors=True)
            (folder / name).rename(place)
            trash.append(place)
    return trash


def free(folder: Path) -> None:
    """Free the bytes of all that was discarded, also by an agent of before."""
    for place in folder.glob(f"{TRASH}*"):
        shutil.rmtree(place, ignore_errors=True)


def size_of(folder: Path) -> int:
    """Bytes of the files in a folder."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(f"{place}/{name}").st_size
    return total
