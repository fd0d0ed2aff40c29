"""Whether the running interpreter has what an image asks for: then nothing is built."""

from __future__ import annotations

import importlib.metadata
import sys
from typing import TYPE_CHECKING

from callmesh.errors import InvalidPackageError

if TYPE_CHECKING:
    from packaging.requirements import Requirement

    from callmesh.requirements import Resolved

# A requirement on Flyte's SDK is one on this package.
OURS = frozenset(("flyte", "callmesh"))


def running_python() -> str:
    """The running interpreter's version, "3.12"."""
    return f"{sys.version_info[0]}.{sys.version_info[1]}"


def lacking(resolved: Resolved) -> list[str]:
    """The requirements that the running interpreter does not satisfy.

    Raises `InvalidPackageError` for one that is malformed.
    """
    missing = [
        each for each in resolved.requirements if not _is_satisfied(parse(each), required=True)
    ]
    return missing + [
        each for each in resolved.constraints if not _is_satisfied(parse(each), required=False)
    ]


def parse(requirement: str) -> Requirement:
    """A requirement's parts. Raises `InvalidPackageError`."""
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        return Requirement(requirement)
    except InvalidRequirement as problem:
        said = str(problem).splitlines()[0]
        raise InvalidPackageError(f"`{requirement}` is not a requirement: {said}") from None


def _is_satisfied(wanted: Requirement, *, required: bool, extra: str = "") -> bool:
    if wanted.marker and not wanted.marker.evaluate({"extra": extra}):
        return True
    if wanted.name.lower() in OURS:
        return True
    try:
        found = importlib.metadata.distribution(wanted.name)
    except importlib.metadata.PackageNotFoundError:
        return not required
    if wanted.url or not wanted.specifier.contains(found.version, prereleases=True):
        return False
    return all(
        _is_satisfied(parse(needed), required=True, extra=each)
        for each in wanted.extras
        for needed in found.requires or ()
        if "extra ==" in needed
    )
