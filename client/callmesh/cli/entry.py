"""The installed program: a Ctrl-C is answered while it is still being imported, too."""

from __future__ import annotations

import os
import sys

INTERRUPTED = 130


def main() -> None:
    """Import the commands and run one. Never returns."""
    try:
        from callmesh.cli.main import main as run
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        sys.stderr.flush()
        # Half-imported modules need no farewell.
        os._exit(INTERRUPTED)
    run()
