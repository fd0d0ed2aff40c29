"""One deploy of `callmesh dev`, in a process that was started for it ahead of time.

A module is imported once in a process, so each deploy has its own. It imports
the libraries first and then waits for the word: what is left to do after a save
is the user's own import and the deploy.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sys
from pathlib import Path

# What every deploy imports.
_LIBRARIES = (
    "callmesh._control",
    "callmesh.app.extras",
    "callmesh.bundle",
    "callmesh.cli.deploying",
    "callmesh.cli.deploy",
    "callmesh.plan",
)


def main(arguments: list[str]) -> int:
    """``GO_FD REPORT_FD LIBRARIES WORDS…``: deploy with these words when told to; the exit code.

    It is told the notices that were said already, as JSON. The report, JSON too,
    says which files the code is in, which libraries it imports, which apps it
    declares and which notices were said.
    """
    go, report = int(arguments[0]), int(arguments[1])
    for name in (*_LIBRARIES, *filter(None, arguments[2].split(","))):
        with contextlib.suppress(Exception):
            importlib.import_module(name)
    with open(go) as pipe:
        told = pipe.read()
    if not told:
        return 0  # nobody waits any more
    before = set(sys.modules)
    from callmesh import _notices
    from callmesh.cli.main import run

    _notices.forget_to_say(json.loads(told))

    words = arguments[3:]
    code = run(["deploy", *words])
    libraries = sorted({*_libraries(before), *filter(None, arguments[2].split(","))})
    answer = {
        "files": _files(Path(words[0])),
        "libraries": libraries,
        "apps": _apps(),
        "notices": sorted(_notices.said()),
    }
    with open(report, "w") as pipe:
        pipe.write(json.dumps(answer))
    sys.stdout.flush()
    os._exit(code)


def _files(main_file: Path) -> list[str]:
    """Every file that was or would be bundled, as far as the imports came."""
    from callmesh import _modules, bundle, graph
    from callmesh.environment import environments
    from callmesh.errors import DeploymentError

    file = main_file.resolve()
    found = {file, *_modules.user_modules([file.parent, Path.cwd()]).values()}
    declared = [each for each in environments() if _modules.is_users_file(each.origin.file)]
    with contextlib.suppress(DeploymentError, OSError, ValueError):
        made = bundle.make(graph.order(declared))
        found |= {made.root / name for name in made.files}
    return sorted(str(each) for each in found)


def _libraries(before: set[str]) -> set[str]:
    from callmesh import _modules

    users = {name.partition(".")[0] for name in _modules.user_modules([Path("/")])}
    added = {name.partition(".")[0] for name in set(sys.modules) - before}
    return {name for name in added - users if name.isidentifier() and not name.startswith("_")}


def _apps() -> list[str]:
    from callmesh.app.environment import AppEnvironment
    from callmesh.environment import environments

    return sorted({each.name for each in environments() if isinstance(each, AppEnvironment)})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
