"""`python -m callmesh_agent.supervisor --socket PATH --state DIR`."""

from __future__ import annotations

import sys


def main() -> int:
    """Run a supervisor; its exit code."""
    # It speaks no TLS: without OpenSSL it is 3 MB smaller, and up 10 ms earlier.
    sys.modules["ssl"] = None  # type: ignore[assignment]
    from callmesh_agent.supervisor.run import run

    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
