"""Small files that are whole or not there, private to this user."""

from __future__ import annotations

import logging
import os
from pathlib import Path

ASIDE = ".aside"
log = logging.getLogger("callmesh.agent")


def write_whole(
    path: Path, content: bytes, *, mode: int = 0o600, survives_power_loss: bool = False
) -> None:
    """Replace a file at once: readers see the old content or the new one.

    What can be made again need not survive a loss of power: that costs a wait
    for the disk. Raises OSError, with the old content left.
    """
    # One process writes a file: what it left when it was killed is written over.
    draft = path.with_name(f".{path.name}.draft")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        with open(descriptor, "wb") as file:  # noqa: PTH123 - of a descriptor
            file.write(content)
            if survives_power_loss:
                file.flush()
                os.fsync(descriptor)
        draft.replace(path)
    except OSError:
        draft.unlink(missing_ok=True)
        raise
    if survives_power_loss:
        _sync_folder(path.parent)


def set_aside(path: Path, why: str) -> None:
    """Move away a file that cannot be used, for whoever wants to look at it; say so in the log."""
    aside = path.with_name(path.name + ASIDE)
    try:
        path.replace(aside)
    except OSError as problem:
        log.warning("`%s` is not used: %s; it could not be set aside: %s", path, why, problem)
    else:
        log.warning("`%s` is not used: %s; it is kept as `%s`", path, why, aside.name)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
