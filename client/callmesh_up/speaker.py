"""What `callmesh up` tells the person, or the process, that started it."""

from __future__ import annotations

import os
import sys

from callmesh.cli import output
from callmesh_up.detach import READY


class Speaker:
    """Speaks to stderr, or, of a detached mesh, through the starter's pipe."""

    def __init__(self, ready_fd: int | None) -> None:
        self._file = sys.stderr if ready_fd is None else os.fdopen(ready_fd, "w")
        self._detached = ready_fd is not None

    def ready(self, text: str) -> None:
        """The mesh is up. A detached one has nothing more to say to its starter."""
        self._file.write(text)
        if self._detached:
            self._file.write(READY)
            self._file.close()
            return
        self._file.write("\nCtrl-C ends it.\n")
        self._file.flush()

    def note(self, text: str) -> None:
        """Something else that the person wants to know."""
        self._file.write(f"{text}\n")
        self._file.flush()

    def problem(self, text: str) -> None:
        """Why the mesh did not start, or ended."""
        target = sys.stderr if self._file.closed else self._file
        for line in output.wrapped(f"error: {text}"):
            target.write(f"{line}\n")
        target.flush()

    def ending(self) -> None:
        """It was told to end."""
        if not self._detached:
            self._file.write("\nending …\n")
            self._file.flush()
