"""`python -m callmesh_up up|down …`."""

from __future__ import annotations

import os
import sys

from callmesh_up import detach, down
from callmesh_up.layout import LayoutProblem, find
from callmesh_up.options import DownOptions, parse
from callmesh_up.record import AlreadyRunning


def main() -> int:
    """Run one verb; the exit code."""
    options = parse(sys.argv[1:])
    layout = find(options.state_dir, os.environ)
    try:
        if isinstance(options, DownOptions):
            return down.run(layout, purge=options.purge)
        if options.detach:
            return detach.start(options, layout)
        from callmesh_up import up

        return up.run(options, layout)
    except (LayoutProblem, AlreadyRunning) as problem:
        sys.stderr.write(f"error: {problem}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
