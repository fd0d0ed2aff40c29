"""Images of what is deployed: which Python each gets, and the lock where one has to be built."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from callmesh import requirements
from callmesh._locking import locked
from callmesh._satisfied import lacking, running_python
from callmesh._transport import call
from callmesh.app.extras import FastAPIAppEnvironment
from callmesh.environment import Environment
from callmesh.errors import ImageBuildError, InitializationError
from callmesh.requirements import Resolved
from callmesh_wire.errors import UnavailableError
from callmeshpb.v1 import scheduler_pb2

NEWEST = 30
BUILT_VARIABLE = "CALLMESH_ENVIRONMENT"


@dataclass(frozen=True, slots=True)
class Pythons:
    """What the mesh's nodes have; ``versions`` is empty where nobody could be asked.

    ``lenient``: a laptop, which uses the nearest one that it has.
    """

    versions: tuple[str, ...] = ()
    lenient: bool = True


async def offered(images: Mapping[Environment, Resolved]) -> Pythons:
    """The nodes' Pythons, asked for where an image wants another one than this process has."""
    if all(wanted_python(each) == running_python() for each in images.values()):
        return Pythons()
    request = scheduler_pb2.ListNodesRequest(page_size=100)
    try:
        answer = await call(scheduler_pb2.ListNodesResponse, "SchedulerService/ListNodes", request)
    except (InitializationError, UnavailableError):
        return Pythons()
    found = {each for node in answer.nodes for each in node.capacity.python_versions}
    return Pythons(
        tuple(sorted(found, key=_minor)), all(each.capacity.shared_cpu for each in answer.nodes)
    )


def read(environments: Sequence[Environment]) -> dict[Environment, Resolved]:
    """Every environment's image with its files read. Raises `ImageBuildError`."""
    return {each: requirements.resolve(each.resolved_image, each.name) for each in environments}


def lock(
    images: Mapping[Environment, Resolved], pythons: Pythons
) -> tuple[dict[Environment, Resolved], list[str]]:
    """The images with a lock where one has to be built, and notices.

    Raises `ImageBuildError`.
    """
    made: dict[Environment, Resolved] = {}
    notices: list[str] = []
    for env, image in images.items():
        notices += image.notices
        asked = wanted_python(image)
        python = _given(asked, pythons, env.name)
        if python != asked:
            notices.append(
                f"`{env.name}` asks for Python {asked} and uses {python}, the nearest that "
                "this node has"
            )
        made[env] = image if asked == python else replace(image, python_version=python)
        if python != running_python() or _is_lacking(image):
            extras = ("fastapi",) if isinstance(env, FastAPIAppEnvironment) else ()
            made[env] = requirements.with_lock(
                made[env], locked(image, python, env.name, extras), python
            )
    return made, notices


def wanted_python(image: Resolved) -> str:
    """The Python that an image asks for: what it names, or the nearest that its files take."""
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    if image.python_version or not image.requires_python:
        return image.python_version or running_python()
    try:
        allowed = SpecifierSet(",".join(image.requires_python))
    except InvalidSpecifier as problem:
        raise ImageBuildError(f"`requires-python` cannot be read: {problem}") from None
    candidates = sorted(
        (f"3.{minor}" for minor in range(11, NEWEST)),
        key=lambda each: abs(_minor(each) - _minor(running_python())),
    )
    for each in candidates:
        # Some patch release of it will do.
        if any(allowed.contains(f"{each}.{patch}") for patch in (0, 50)):
            return each
    raise ImageBuildError(
        f"`requires-python` is `{allowed}`, which no Python that callmesh runs on satisfies: "
        "3.11 is the oldest"
    )


def _given(asked: str, pythons: Pythons, owner: str) -> str:
    if not pythons.versions or asked in pythons.versions:
        return asked
    if pythons.lenient:
        return min(pythons.versions, key=lambda each: (abs(_minor(each) - _minor(asked)), each))
    raise ImageBuildError(
        f"`{owner}` asks for Python {asked}, which no node has; they have "
        f"{', '.join(pythons.versions)}: name one of those with `python_version`"
    )


def _is_lacking(image: Resolved) -> bool:
    if os.environ.get(BUILT_VARIABLE):
        # What this process has is its own environment, and not what its node has.
        return bool(image.requirements)
    return bool(lacking(image))


def _minor(version: str) -> int:
    return int(version.partition(".")[2])
