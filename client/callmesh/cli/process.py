"""Becoming a process of the mesh, so that a terminal's Ctrl-C and its end are its own."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from callmesh.cli import output

# One module of every library that a mesh, or its part, needs beyond the client.
SERVER = ("sqlalchemy", "cryptography", "uvicorn", "starlette", "jinja2")
AGENT = ("cryptography", "uvloop")


def become(
    arguments: Sequence[str], state_dir: Path | None, needed: Sequence[str] = SERVER
) -> None:
    """Replace this process by `python -m callmesh_up` with these arguments."""
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        output.stop(
            f"this installation has only callmesh's client: `{missing[0]}` is missing",
            hint="pip install 'callmesh[all]'",
            code=output.USAGE,
        )
    where = [] if state_dir is None else [f"--state-dir={state_dir.expanduser().absolute()}"]
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, "-m", "callmesh_up", *arguments, *where])
