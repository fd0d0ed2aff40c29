"""The user's loaded modules: their names for a worker, their files, their roots."""

from __future__ import annotations

import re
import sys
import sysconfig
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from callmesh.environment import Environment
from callmesh.errors import CodeBundleError

OURS = (
    "callmesh",
    "callmesh_wire",
    "callmeshpb",
    "callmesh_server",
    "callmesh_agent",
    "callmesh_up",
)
_PACKAGE = Path(__file__).resolve().parent
_INSTALLED = tuple(
    Path(place).resolve()
    for name, place in sysconfig.get_paths().items()
    if name in ("stdlib", "platstdlib", "purelib", "platlib")
)


@dataclass(frozen=True, slots=True)
class Location:
    """Where an environment is, for an importer: module and variable.

    ``imports`` are the other modules that declare tasks of it.
    """

    module: str
    attribute: str
    imports: tuple[str, ...] = ()


def locate(environment: Environment) -> Location:
    """The module and variable of an environment. Raises `CodeBundleError`."""
    origin = environment.origin
    if not origin.file:
        raise CodeBundleError(
            f"environment `{environment.name}` was not declared in a file, so its code cannot "
            "travel: write it into a module"
        )
    module = sys.modules.get(origin.module)
    variables = vars(module).items() if module is not None else ()
    attribute = next((name for name, value in variables if value is environment), "")
    if not attribute:
        raise CodeBundleError(
            f"environment `{environment.name}` must be a variable of module `{origin.module}`, "
            "made when the module is imported: a worker has to find it there"
        )
    own, *others = (module_name(name, path) for name, path in declaring(environment))
    return Location(own, attribute, tuple(each for each in others if each != own))


def declaring(environment: Environment) -> list[tuple[str, Path]]:
    """The loaded modules that make an environment and its tasks, the environment's own first."""
    origin = environment.origin
    found = [(origin.module, Path(origin.file).resolve())]
    for each in getattr(environment, "origins", ()):
        path = Path(each.file).resolve()
        if each != origin and path.suffix == ".py" and is_users_file(each.file):
            found.append((each.module, path))
    return found


def module_name(name: str, path: Path) -> str:
    """The name under which a worker imports a loaded module.

    A script's is what an importer would call its file.
    """
    if name == "__main__":
        spec = getattr(sys.modules["__main__"], "__spec__", None)
        if spec is not None and spec.name != "__main__":
            return str(spec.name)  # python -m
    elif _matches(name, path):
        return name
    return import_name(path)[0]


def import_name(path: Path) -> tuple[str, Path]:
    """A file's dotted name, and the folder to import it from, by its packages.

    For who loads a file by its path. Raises `CodeBundleError` for a name that
    cannot be imported.
    """
    path = path.resolve()
    if not re.fullmatch(r"[\w-]+", path.stem):
        raise CodeBundleError(
            f"`{path}` cannot be imported by a worker: before `.py` its name must have letters, "
            "digits, `_` and `-` only"
        )
    parts, folder = [path.stem], path.parent
    while (folder / "__init__.py").exists() and folder.parent != folder:
        parts.insert(0, folder.name)
        folder = folder.parent
    if parts[-1] == "__init__" and len(parts) > 1:
        parts.pop()
    return ".".join(parts), folder


def import_root(name: str, path: Path) -> Path:
    """The folder from which a loaded module is imported."""
    known = module_name(name, path)
    depth = known.count(".") + (path.name == "__init__.py")
    return path.parents[depth]


def user_modules(folders: Iterable[Path]) -> dict[str, Path]:
    """Loaded modules under some folders that nobody installed: by name, their files."""
    within = list(folders)
    found: dict[str, Path] = {}
    for name, module in list(sys.modules.items()):
        path = _source_of(module)
        if path is None or name.split(".")[0] in OURS or _is_installed(path):
            continue
        if any(path.is_relative_to(folder) for folder in within):
            found[name] = path
    return found


def is_users(module: ModuleType | None) -> bool:
    """A loaded module is a file that nobody installed."""
    path = _source_of(module)
    return path is not None and not _is_installed(path)


def is_users_file(file: str) -> bool:
    """A file that nobody installed."""
    return bool(file) and not _is_installed(Path(file).resolve())


def _source_of(module: ModuleType | None) -> Path | None:
    file = getattr(module, "__file__", None)
    if not isinstance(file, str) or not file.endswith(".py"):
        return None
    path = Path(file).resolve()
    return path if path.is_file() else None


def _is_installed(path: Path) -> bool:
    if {"site-packages", "dist-packages"} & set(path.parts):
        return True
    return any(path.is_relative_to(place) for place in (*_INSTALLED, _PACKAGE))


def _matches(name: str, path: Path) -> bool:
    parts = list(path.with_suffix("").parts)
    if parts[-1] == "__init__":
        parts.pop()
    wanted = name.split(".")
    return parts[-len(wanted) :] == wanted
