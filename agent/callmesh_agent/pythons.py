"""The Python interpreters that this machine has, by version."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path

OLDEST = (3, 11)
_NAME = re.compile(r"python(3)\.(\d+)\Z")
# Where version managers keep interpreters that are not on PATH.
_MANAGED = (
    ".pyenv/versions/*/bin",
    ".local/share/uv/python/*/bin",
    ".asdf/installs/python/*/bin",
)


def installed(environ: Mapping[str, str]) -> dict[str, str]:
    """Interpreters that callmesh can run on by version ("3.12"): the running one, then PATH's."""
    running = f"{sys.version_info[0]}.{sys.version_info[1]}"
    found = {running: sys.executable}
    folders = [Path(each) for each in environ.get("PATH", os.defpath).split(os.pathsep) if each]
    home = environ.get("HOME", "")
    if home:
        for pattern in _MANAGED:
            folders += sorted(Path(home).glob(pattern), reverse=True)
    for folder in folders:
        # Shims are scripts that may name a version that is not there.
        if folder.name != "shims" and folder.is_dir():
            for path in sorted(folder.iterdir()):
                name = _NAME.match(path.name)
                if name and (3, int(name[2])) >= OLDEST and os.access(path, os.X_OK):
                    found.setdefault(f"3.{name[2]}", str(path))
    return dict(sorted(found.items(), key=lambda each: int(each[0].partition(".")[2])))
