"""Install what the tests need beyond Python, where this machine lets us.

A test whose need is not met is skipped with a sentence, and `make test` lists
those sentences at its end (see tests/conftest.py).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

DEBIAN = {
    "chromium": "chromium",
    "chromedriver": "chromium-driver",
    "faketime": "faketime",
    "fish": "fish",
    "ip": "iproute2",
    "systemctl": "systemd",
    "zsh": "zsh",
}


def missing() -> list[str]:
    """Debian packages whose program is not on PATH."""
    return [package for program, package in DEBIAN.items() if not shutil.which(program)]


def main() -> int:
    """Install; a failure is told and left to the tests."""
    packages = missing()
    if not packages:
        return 0
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        sys.stderr.write(f"not installed (needs root and apt-get): {' '.join(packages)}\n")
        return 0
    sys.stderr.write(f"installing {' '.join(packages)} for the tests …\n")
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for command in (["apt-get", "update"], ["apt-get", "install", "-y", "-q",
                    "--no-install-recommends", *packages]):  # fmt: skip
        done = subprocess.run(command, env=environment, check=False, **quiet)
        if done.returncode:
            sys.stderr.write(f"{' '.join(command)} failed: {done.stderr[-500:]}\n")
            return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
