"""Which files travel with code, and the archive of them."""

from __future__ import annotations

import fnmatch
import gzip
import hashlib
import io
import os
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from callmesh._modules import declaring, import_root, locate, user_modules
from callmesh.environment import Environment
from callmesh.errors import CodeBundleError
from callmesh.layers import Source

CopyStyle = Literal["loaded_modules", "all", "none", "custom"]

MAX_BUNDLE = 200 * 1024 * 1024
SKIPPED_FOLDERS = frozenset(
    (
        ".callmesh",
        ".flyte",
        ".git",
        ".hg",
        ".idea",
        ".mypy_cache",
        ".nox",
        ".pytest_cache",
        ".ruff_cache",
        ".tox",
        ".venv",
        ".vscode",
        "__pycache__",
        "node_modules",
        "venv",
    )
)
IGNORE_FILES = (".gitignore", ".callmeshignore", ".flyteignore")


@dataclass(frozen=True, slots=True)
class Bundle:
    """An archive of code; ``digest`` and ``data`` are empty when none travels.

    ``sys_path`` are further folders to import from, relative to the root.
    """

    digest: str
    data: bytes
    root: Path
    files: tuple[str, ...] = ()
    sys_path: tuple[str, ...] = ()


def make(
    environments: Sequence[Environment],
    *,
    root_dir: Path | None = None,
    copy_style: CopyStyle = "loaded_modules",
    sources: Sequence[Source] = (),
) -> Bundle:
    """The bundle of some environments' code, with the ``sources`` of their images.

    "loaded_modules" takes the user's modules that are imported, "all" every
    file under the root that version control keeps, "custom" the declaring files
    alone; each with what the environments ``include``. With "none" only that
    travels: the code has to be importable where it runs.

    The root is ``root_dir``, or the nearest folder that holds every folder
    that something is imported from. Raises `CodeBundleError` for code that is
    outside the root, missing or too large.
    """
    declared: dict[Path, Path] = {}
    for each in environments:
        locate(each)
        declared |= {file: import_root(name, file) for name, file in declaring(each)}
    folders = [root_dir] if root_dir else [Path.cwd(), *declared.values()]
    modules = {} if copy_style in ("custom", "none") else user_modules(folders)
    roots = {import_root(name, path) for name, path in modules.items()} | {*declared.values()}
    root = root_dir or Path(os.path.commonpath(roots or {Path.cwd()}))
    files = set(_tree(root)) if copy_style == "all" else set(modules.values())
    if copy_style != "none":
        files |= {_inside(path, root) for path in declared}
    files |= _included(environments, root)
    placed = {path.relative_to(root).as_posix(): path for path in files}
    for source in sources:
        placed |= _placed(source)
    if not placed:
        return Bundle("", b"", root)
    names = tuple(sorted(placed))
    data = _archive(root, placed)
    within = {each.relative_to(root).as_posix() for each in roots if each.is_relative_to(root)}
    return Bundle(
        digest=hashlib.sha256(data).hexdigest(),
        data=data,
        root=root,
        files=names,
        sys_path=tuple(sorted(within - {"."})),
    )


def _included(environments: Sequence[Environment], root: Path) -> set[Path]:
    files: set[Path] = set()
    for environment in environments:
        base = Path(environment.origin.file).resolve().parent
        for pattern in environment.include:
            matches = _expand(base, str(pattern))
            if not matches:
                raise CodeBundleError(
                    f"`include` of `{environment.name}` names `{pattern}`, "
                    f"which matches nothing in `{base}`"
                )
            files |= {_inside(path, root) for path in matches}
    return files


def _expand(base: Path, pattern: str) -> list[Path]:
    path = base / pattern
    if path.is_dir():
        return list(_tree(path.resolve()))
    if path.is_file():
        return [path.resolve()]
    if Path(pattern).is_absolute():
        return []
    return [found.resolve() for found in base.glob(pattern) if found.is_file()]


def _placed(source: Source) -> dict[str, Path]:
    """The files of an image's source by their names in the bundle, as `COPY` names them."""
    path = source.path.expanduser().resolve()
    goal = PurePosixPath(source.destination)
    if goal.is_absolute() or ".." in goal.parts:
        raise CodeBundleError(
            f"`{source.path}` goes to `{source.destination}`, which is outside the code's folder: "
            "name a relative destination; code runs in that folder"
        )
    if path.is_file():
        is_folder = source.destination.endswith("/") or goal == PurePosixPath(".")
        return {(goal / path.name if is_folder else goal).as_posix(): path}
    if not path.is_dir():
        raise CodeBundleError(f"the image names `{source.path}`, which does not exist")
    within = goal if source.contents else goal / path.name
    return {(within / each.relative_to(path).as_posix()).as_posix(): each for each in _tree(path)}


def _inside(path: Path, root: Path) -> Path:
    if not path.is_relative_to(root):
        raise CodeBundleError(
            f"`{path}` has to travel with the code, but is outside the root folder `{root}`: "
            "name a folder that holds both with `root_dir`"
        )
    return path


def _tree(root: Path) -> Iterable[Path]:
    """Every file under a folder, but for what version control and tools keep there."""
    ignored = _ignored_patterns(root)
    for folder, folders, names in os.walk(root):
        here = Path(folder)
        folders[:] = [
            name
            for name in folders
            if name not in SKIPPED_FOLDERS and not _is_ignored(here / name, root, ignored)
        ]
        for name in names:
            path = here / name
            is_wanted = path.is_file() and not name.endswith(".pyc")
            if is_wanted and not _is_ignored(path, root, ignored):
                yield path


def _ignored_patterns(root: Path) -> list[str]:
    patterns: list[str] = []
    for name in IGNORE_FILES:
        file = root / name
        if file.is_file():
            lines = (line.strip() for line in file.read_text().splitlines())
            patterns += [line for line in lines if line and not line.startswith(("#", "!"))]
    return patterns


def _is_ignored(path: Path, root: Path, patterns: Sequence[str]) -> bool:
    relative = path.relative_to(root).as_posix()
    for pattern in patterns:
        bare = pattern.strip("/")
        subject = relative if "/" in pattern.rstrip("/") else path.name
        if fnmatch.fnmatchcase(subject, bare):
            return True
    return False


def _archive(root: Path, files: Mapping[str, Path]) -> bytes:
    """A gzipped tar that only depends on names, contents and the executable bit."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, path in sorted(files.items()):
            content = path.read_bytes()
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            entry.mode = 0o755 if os.access(path, os.X_OK) else 0o644
            archive.addfile(entry, io.BytesIO(content))
            if raw.tell() > MAX_BUNDLE:
                raise CodeBundleError(_too_large(root, files))
    return gzip.compress(raw.getvalue(), compresslevel=6, mtime=0)


def _too_large(root: Path, files: Mapping[str, Path]) -> str:
    sizes = sorted((path.stat().st_size, name) for name, path in files.items())[-3:]
    largest = ", ".join(f"`{name}` ({size >> 20} MiB)" for size, name in reversed(sizes))
    return (
        f"the code in `{root}` is over {MAX_BUNDLE >> 20} MiB, the largest files being {largest}: "
        "name them in `.callmeshignore`, or let a task read them as an input"
    )
