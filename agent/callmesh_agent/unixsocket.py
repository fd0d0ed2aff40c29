"""Unix sockets that only this user may connect to."""

from __future__ import annotations

import os
import socket
from pathlib import Path


def listening(path: Path, backlog: int) -> socket.socket:
    """A socket that listens, mode 0600 from its first moment; what was at its place is removed.

    Raises OSError.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        path.unlink(missing_ok=True)
        listener.bind(os.fspath(path))
        listener.listen(backlog)
    except OSError:
        listener.close()
        raise
    finally:
        os.umask(before)
    listener.setblocking(False)  # noqa: FBT003
    return listener
