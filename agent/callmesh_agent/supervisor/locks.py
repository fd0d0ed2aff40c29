"""One lock file for each process id: there is never a second process of one id.

A lock is an flock that the process inherits and holds until it and every
descendant that shares it have ended, whatever becomes of the supervisor.
"""

from __future__ import annotations

import fcntl
import os
import re
from pathlib import Path

from callmesh_wire.errors import InvalidArgumentError

_PROCESS_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@-]*(/[A-Za-z0-9][A-Za-z0-9._:@-]*)*")
_LONGEST = 200


def file_name(process_id: str) -> str:
    """The name of an id's files. Raises `InvalidArgumentError` for what is no id."""
    if len(process_id) > _LONGEST or not _PROCESS_ID.fullmatch(process_id):
        raise InvalidArgumentError(
            f"`process_id` must be words of letters, digits and `._:@-` separated by `/`, "
            f"at most {_LONGEST} characters: got `{process_id[:_LONGEST]}`"
        )
    return process_id.replace("/", "~")


def take(path: Path) -> int | None:
    """A descriptor that holds the lock, or None while another process holds it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


class Locks:
    """The lock files of one folder."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._folder = folder

    def path(self, process_id: str) -> Path:
        """Where the id's lock file is."""
        return self._folder / f"{file_name(process_id)}.lock"

    def take(self, process_id: str) -> int | None:
        """A descriptor that holds the id's lock, or None while a process holds it."""
        return take(self.path(process_id))

    def is_held(self, process_id: str) -> bool:
        """Whether a living process holds the id's lock."""
        path = self.path(process_id)
        if not path.exists():
            return False
        descriptor = take(path)
        if descriptor is None:
            return True
        os.close(descriptor)
        return False

    def remove(self, process_id: str) -> None:
        """Remove the lock file of an id that nobody holds."""
        if not self.is_held(process_id):
            self.path(process_id).unlink(missing_ok=True)

    def clear(self) -> None:
        """Remove the folder and every lock file that nobody holds."""
        for path in self._folder.glob("*.lock"):
            if (descriptor := take(path)) is not None:
                path.unlink()
                os.close(descriptor)
        if not any(self._folder.iterdir()):
            self._folder.rmdir()
