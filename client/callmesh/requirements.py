"""What an image asks for, against what the running interpreter has.

Building environments is not there yet: the node's own Python must satisfy the
image, and what it lacks is named here, before anything is deployed.
"""

from __future__ import annotations

import importlib.metadata
import sys
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from callmesh import image as layers
from callmesh.errors import ImageBuildError, InvalidPackageError
from callmesh.image import Image

# A requirement on Flyte's SDK is one on this package.
OURS = frozenset(("flyte", "callmesh"))


@dataclass(frozen=True, slots=True)
class Resolved:
    """An image with its files read."""

    requirements: tuple[str, ...]
    env_vars: tuple[tuple[str, str], ...]
    workdir: str
    python_version: str
    sources: tuple[Path, ...]


def resolve(image: Image, owner: str) -> Resolved:
    """Read an image's layers. ``owner`` is the environment's name, for messages.

    Raises `ImageBuildError` for a layer that needs a container, and for a file
    that is missing.
    """
    wanted: list[str] = []
    variables: dict[str, str] = {}
    workdir, sources = "", []
    for layer in image.layers:
        match layer:
            case layers.PipPackages():
                wanted += layer.packages
            case layers.Requirements(file):
                wanted += _lines(_read(file, owner))
            case layers.UvScript(script):
                wanted += _script_header(_read(script, owner), script)
            case layers.UvProject(file):
                project = tomllib.loads(_read(file, owner)).get("project", {})
                wanted += [str(each) for each in project.get("dependencies", [])]
            case layers.EnvVars():
                variables.update(layer.variables)
            case layers.WorkDir(directory):
                workdir = directory
            case layers.Source(path):
                sources.append(path)
            case layers.Container(what, detail):
                raise ImageBuildError(
                    f"the image of `{owner}` uses `{what}` ({detail}), which needs a container; "
                    "callmesh runs code in Python environments: install it on the node and "
                    "remove the layer"
                )
    version = image.python_version
    return Resolved(
        requirements=tuple(dict.fromkeys(wanted)),
        env_vars=tuple(variables.items()),
        workdir=workdir,
        python_version=f"{version[0]}.{version[1]}" if version else "",
        sources=tuple(sources),
    )


def check(resolved: Resolved, owner: str) -> list[str]:
    """Notices about what differs, one line each.

    Raises `InvalidPackageError` naming every requirement that the running
    interpreter does not satisfy.
    """
    lacking = [problem for each in resolved.requirements if (problem := _lacking(each))]
    if lacking:
        raise InvalidPackageError(
            f"the image of `{owner}` asks for what this Python environment lacks: "
            f"{', '.join(found for _, found in lacking)}; install it first: "
            f"`{sys.executable} -m pip install {' '.join(_quoted(lacking))}`"
        )
    running = f"{sys.version_info[0]}.{sys.version_info[1]}"
    if resolved.python_version and resolved.python_version != running:
        line = f"`{owner}` asks for Python {resolved.python_version} and uses {running}"
        return [f"{line}, the nearest that this node has"]
    return []


def _quoted(lacking: Sequence[tuple[str, str]]) -> list[str]:
    return [f"'{wanted}'" for wanted, _ in lacking]


def _lacking(requirement: str) -> tuple[str, str] | None:
    """The requirement and how it is not satisfied, or None."""
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        parsed = Requirement(requirement)
    except InvalidRequirement as problem:
        raise InvalidPackageError(f"`{requirement}` is not a requirement: {problem}") from None
    if parsed.name.lower() in OURS or (parsed.marker and not parsed.marker.evaluate()):
        return None
    try:
        version = importlib.metadata.version(parsed.name)
    except importlib.metadata.PackageNotFoundError:
        return requirement, f"`{requirement}` (not installed)"
    if not parsed.specifier.contains(version, prereleases=True):
        return requirement, f"`{requirement}` (installed: {version})"
    return None


def _read(path: Path, owner: str) -> str:
    try:
        return path.read_text()
    except OSError as problem:
        raise ImageBuildError(
            f"the image of `{owner}` names `{path}`, which cannot be read: {problem.strerror}"
        ) from None


def _lines(text: str) -> list[str]:
    lines = (line.split(" #")[0].strip() for line in text.splitlines())
    # Lines such as `--index-url …` say where to install from: nothing is installed here.
    return [line for line in lines if line and not line.startswith(("#", "-"))]


def _script_header(text: str, script: Path) -> list[str]:
    """The dependencies of a PEP 723 header."""
    block: list[str] | None = None
    for line in text.splitlines():
        if line.rstrip() == "# /// script":
            block = []
        elif block is not None and line.rstrip() == "# ///":
            try:
                header = tomllib.loads("\n".join(block))
            except tomllib.TOMLDecodeError as problem:
                raise ImageBuildError(f"the header of `{script}` is not TOML: {problem}") from None
            return [str(each) for each in header.get("dependencies", [])]
        elif block is not None:
            block.append(line.removeprefix("#").removeprefix(" "))
    return []
