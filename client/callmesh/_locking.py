"""Requirements → a lock: every package that an environment needs, pinned by `uv`.

What was resolved once is kept in the user's cache folder by its content, so
that the same image is the same environment at every later deploy, without
`uv` and without a network.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from callmesh import _notices
from callmesh._satisfied import OURS, parse
from callmesh.errors import ImageBuildError, InvalidPackageError
from callmesh_wire import uv

if TYPE_CHECKING:
    from callmesh.requirements import Resolved

SECONDS = 600.0
_UNKNOWN = re.compile(r"(?:Because )?(\S+) was not found in the package registry")
_AWAY = re.compile(r"error sending request|Request failed after|Failed to fetch|dns error")


def locked(resolved: Resolved, python: str, owner: str, extras: Sequence[str]) -> tuple[str, ...]:
    """The packages for an image on a Python ("3.12"), callmesh's own needs among them.

    ``extras`` are callmesh's. Raises `InvalidPackageError` naming a package that
    does not exist, and `ImageBuildError` with the reason of a conflict.
    """
    ours = [parse(each) for each in resolved.requirements]
    asked = sorted({extra for each in ours if each.name.lower() in OURS for extra in each.extras})
    others = [
        each
        for each, parsed in zip(resolved.requirements, ours, strict=True)
        if parsed.name.lower() not in OURS
    ]
    own = _own_project()
    known = [each for each in dict.fromkeys((*extras, *asked)) if f"\n{each} = [" in own]
    options = ["--python-version", python, *resolved.index_options, *resolved.resolve_options]
    content = [others, resolved.constraints, options, known, own, sys.platform, os.uname().machine]

    def compiled() -> str:
        _notices.tell(f"resolving the environment of `{owner}`: {_listed(others)}")
        return _compile(others, resolved.constraints, options, known, own, owner)

    lines = _cached("lock", content, compiled).splitlines()
    return tuple(
        line
        for line in lines
        if line and not line.startswith(("#", "-")) and not line.startswith("callmesh ")
    )


def project_pins(pyproject: str, lock: str, chosen: Sequence[str], owner: str) -> tuple[str, ...]:
    """What a project's `uv.lock` pins, as requirements with markers."""

    def exported() -> str:
        with tempfile.TemporaryDirectory(prefix="callmesh-") as folder:
            (Path(folder) / "pyproject.toml").write_text(pyproject)
            (Path(folder) / "uv.lock").write_text(lock)
            arguments = ["export", "--frozen", "--no-hashes", "--no-annotate", "--no-header"]
            arguments += ["--no-emit-project", "--quiet", *(chosen or ["--no-dev"])]
            return _uv(arguments, folder, f"the lock of `{owner}`'s project cannot be read")

    text = _cached("pins", [pyproject, lock, list(chosen)], exported)
    return tuple(line.strip() for line in text.splitlines() if line.strip())


def _compile(
    requirements: Sequence[str],
    constraints: Sequence[str],
    options: Sequence[str],
    extras: Sequence[str],
    own: str,
    owner: str,
) -> str:
    with tempfile.TemporaryDirectory(prefix="callmesh-") as folder:
        root = Path(folder)
        (root / "callmesh").mkdir()
        (root / "callmesh" / "pyproject.toml").write_text(own)
        named = f"callmesh[{','.join(extras)}]" if extras else "callmesh"
        place = (root / "callmesh").as_uri()
        (root / "image.in").write_text("\n".join([f"{named} @ {place}", *requirements]))
        (root / "constraints.in").write_text("\n".join(constraints))
        arguments = ["pip", "compile", "image.in", "--constraint", "constraints.in"]
        arguments += ["--python", sys.executable, "--no-header", "--no-annotate", *options]
        return _uv(arguments, folder, f"the image of `{owner}` cannot be resolved")


def _uv(arguments: Sequence[str], folder: str, what_failed: str) -> str:
    program = uv.find()
    if program is None:
        raise ImageBuildError(
            f"{what_failed}: `uv`, which resolves environments, is not installed; "
            f"`{sys.executable} -m pip install uv`, or install what the image names beside callmesh"
        )
    variables = {**os.environ, "UV_PYTHON_DOWNLOADS": "never", "NO_COLOR": "1"}
    try:
        done = subprocess.run(
            [program, *arguments],
            cwd=folder,
            env=variables,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        raise ImageBuildError(
            f"{what_failed}: `uv` did not end within {SECONDS:g} s; check the package index"
        ) from None
    if done.returncode:
        raise _failed(uv.reason(done.stderr), what_failed)
    return done.stdout


def _failed(reason: str, what_failed: str) -> ImageBuildError:
    unknown = _UNKNOWN.search(reason)
    if unknown:
        return InvalidPackageError(
            f"{what_failed}: package `{unknown[1]}` does not exist on the package index; check "
            "how it is spelled"
        )
    if _AWAY.search(reason):
        return ImageBuildError(
            f"{what_failed}: the package index does not answer ({reason[:300]}); check the "
            "network, or install what the image names beside callmesh"
        )
    if "callmesh" in reason:
        reason += (
            "; callmesh runs inside every environment, with the packages that it needs: ask for "
            "other versions"
        )
    return ImageBuildError(f"{what_failed}: {reason}")


def _own_project() -> str:
    """callmesh as a project that is never built: `uv` reads from it what callmesh needs."""
    try:
        about = importlib.metadata.distribution("callmesh")
    except importlib.metadata.PackageNotFoundError:
        raise ImageBuildError(
            "callmesh is not installed as a package, so what it needs is not known: install it "
            "with pip"
        ) from None
    needs: dict[str, list[str]] = {}
    for line in about.requires or ():
        requirement, _, marker = line.partition(";")
        extra = re.search(r"extra == ['\"]([\w-]+)['\"]", marker)
        rest = re.sub(r"\s*(?:and\s+)?extra == ['\"][\w-]+['\"]\s*", "", marker).strip(" ()")
        whole = f"{requirement.strip()} ; {rest}" if rest else requirement.strip()
        needs.setdefault(extra[1] if extra else "", []).append(whole)
    lines = [
        "[project]",
        'name = "callmesh"',
        f"version = {json.dumps(about.version)}",
        f"dependencies = {json.dumps(needs.pop('', []))}",
        "[project.optional-dependencies]",
        *(f"{extra} = {json.dumps(each)}" for extra, each in sorted(needs.items())),
    ]
    return "\n".join(lines) + "\n"


def _cached(kind: str, content: object, make: Callable[[], str]) -> str:
    """What ``make`` made of this content before, or makes now."""
    digest = hashlib.sha256(json.dumps(content, default=list).encode()).hexdigest()
    path = _cache_folder(os.environ) / kind / digest[:32]
    with contextlib.suppress(OSError):
        return path.read_text()
    text = make()
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = path.with_name(f"{path.name}.{os.getpid()}")
        draft.write_text(text)
        draft.rename(path)
    except OSError:
        return text  # a cache that cannot be written to is no reason to fail
    return text


def _cache_folder(environ: Mapping[str, str]) -> Path:
    home = environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(home) / "callmesh"


def _listed(requirements: Sequence[str]) -> str:
    shown = ", ".join(requirements[:4]) or "callmesh alone"
    return f"{shown} and {len(requirements) - 4} more" if len(requirements) > 4 else shown
