"""The user's code inside a workload: put on `sys.path`, imported, and looked up."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from types import ModuleType

from callmesh._failure import shorten
from callmeshpb.v1 import common_pb2


class CodeProblem(Exception):
    """The bundle does not hold what was deployed. ``str()`` says what is missing."""


def load(code: common_pb2.Code, directory: str) -> ModuleType:
    """The user's module, imported unless the zygote has done so.

    Raises whatever the module raises.
    """
    root = directory or str(Path.cwd())
    shorten(root)
    found = sys.modules.get(code.module)
    if found is not None and all(each in sys.modules for each in code.imports):
        return found
    for entry in reversed(("", *code.sys_path)):
        place = os.path.normpath(os.path.join(root, entry))  # noqa: PTH118 - no file access
        if place not in sys.path:
            sys.path.insert(0, place)
    importlib.invalidate_caches()
    found = importlib.import_module(code.module)
    for each in code.imports:
        importlib.import_module(each)
    return found


def environment_of(module: ModuleType, attribute: str) -> object:
    """The environment that was deployed from this module. Raises `CodeProblem`."""
    try:
        return getattr(module, attribute)
    except AttributeError:
        raise CodeProblem(
            f"module `{module.__name__}` has no `{attribute}`: the environment must be "
            "a variable of the module, made when the module is imported"
        ) from None
