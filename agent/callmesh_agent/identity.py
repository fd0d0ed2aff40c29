"""What proves that an agent is the node it says it is: a secret that it made for itself."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def key(file: Path) -> str:
    """The node's key, from a file that only this user reads; made at first use."""
    try:
        return file.read_text().strip()
    except FileNotFoundError:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        made = secrets.token_urlsafe(32)
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as target:
            target.write(made)
        return made
