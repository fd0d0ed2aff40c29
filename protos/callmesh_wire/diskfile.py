"""Files that only this user reads, whole at every moment.

What is being written is beside them, as `.NAME.draft` or `.NAME.*.draft`.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path


def write_whole(path: Path, content: bytes, *, survives_power_loss: bool = False) -> None:
    """Replace a file at once: readers see the old content or the new one.

    What can be made again need not survive a loss of power: that costs a wait
    for the disk. Raises OSError, with the old content left.
    """
    # One process writes a file: what it left when it was killed is written over.
    draft = path.with_name(f".{path.name}.draft")
    try:
        _write(draft, content, survives_power_loss=survives_power_loss)
        draft.replace(path)
    except OSError:
        draft.unlink(missing_ok=True)
        raise
    if survives_power_loss:
        _sync_folder(path.parent)


def read_or_make(path: Path, make: Callable[[], bytes]) -> bytes:
    """The content of a file that is never replaced; where it is missing, it is made.

    Of several who make it at once all get what one of them has made, which
    survives a loss of power. Raises OSError.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}.draft")
    try:
        _write(draft, make(), survives_power_loss=True)
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink(missing_ok=True)
    _sync_folder(path.parent)
    return path.read_bytes()


def token(path: Path) -> str:
    """A random text that proves who has it, from its file; made at first use. Raises OSError."""
    return read_or_make(path, lambda: secrets.token_urlsafe(32).encode()).decode().strip()


def _write(path: Path, content: bytes, *, survives_power_loss: bool) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    with open(os.open(path, flags, 0o600), "wb") as file:  # noqa: PTH123 - of a descriptor
        file.write(content)
        if survives_power_loss:
            file.flush()
            os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
