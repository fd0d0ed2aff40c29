"""The join token: what lets a machine into a mesh, as a file that is carried there.

Its first line is a secret; the rest is the certificate that the mesh made for
itself, so that a machine that holds the file also knows whom it talks to.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

from callmesh_wire.errors import FailedPreconditionError

SERVER_NAME = "callmesh"
PREFIX = "callmesh-join-1 "
_PEM, _PEM_END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
_LONGEST = 64 * 1024


@dataclass(frozen=True, slots=True)
class JoinToken:
    """Secret and certificate (PEM)."""

    secret: str = field(repr=False)
    certificate: str

    def text(self) -> str:
        """The file's content."""
        return f"{PREFIX}{self.secret}\n{self.certificate}"


def read(file: Path) -> JoinToken:
    """The token in a file that nobody else can read.

    Of a file that is another user's, the group is let in: so systemd and
    Kubernetes hand one to a process that is not root.

    Raises `FailedPreconditionError` for one that is missing, open to others, or
    something else.
    """
    hint = "copy the file `join.token` of the server's state folder here, with mode 600"
    try:
        found = file.stat()
        with file.open() as source:
            text = source.read(_LONGEST)
    except FileNotFoundError:
        raise FailedPreconditionError(
            f"the join token file `{file}` does not exist: {hint}"
        ) from None
    except (OSError, ValueError) as problem:
        reason = getattr(problem, "strerror", None) or "it is not text"
        raise FailedPreconditionError(
            f"the join token file `{file}` cannot be read ({reason}): {hint}"
        ) from None
    mode = stat.S_IMODE(found.st_mode)
    if mode & (0o077 if found.st_uid == os.geteuid() else 0o007):
        raise FailedPreconditionError(
            f"the join token file `{file}` can be read by others (mode {mode:o}): "
            f"run `chmod 600 {file}`"
        )
    first, _, certificate = text.partition("\n")
    secret = first.removeprefix(PREFIX).strip()
    is_whole = certificate.startswith(_PEM) and certificate.rstrip().endswith(_PEM_END)
    if not first.startswith(PREFIX) or len(secret) < 16 or not is_whole:
        raise FailedPreconditionError(f"`{file}` holds no join token of a mesh: {hint}")
    return JoinToken(secret, certificate)
