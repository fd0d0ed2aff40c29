"""Python environments of this node: which one an image means, and that it is built once."""

from __future__ import annotations

import hashlib

from callmesh_agent.core.draft import Draft
from callmesh_agent.core.instructions import BuildEnvironment
from callmesh_agent.core.state import Environment
from callmeshpb.v1 import common_pb2

STARTING = "building the environment"


def key_of(image: common_pb2.Image, installation: str) -> str:
    """Equal for images that one virtual environment serves; "" for the node's own interpreter.

    ``installation`` names the platform and where callmesh itself is.
    """
    if not image.lock_python:
        return ""
    seen = hashlib.sha256()
    for piece in (image.lock_python, installation, *image.index_options, "", *image.lock):
        seen.update(f"{len(piece)} {piece}\n".encode())
    return seen.hexdigest()[:24]


def need(draft: Draft, image: common_pb2.Image) -> str:
    """What there is to wait for, "" when the environment is there; it is built if it is not."""
    key = key_of(image, draft.installation)
    if not key:
        return ""
    known = draft.environments.get(key)
    if known is None:
        known = draft.environments[key] = Environment(message=STARTING)
        draft.do(BuildEnvironment(key, image))
    return "" if known.here else known.message


def progressed(draft: Draft, key: str, message: str) -> None:
    """Keep how far it is built."""
    known = draft.environments.get(key)
    if known is not None and not known.here:
        draft.environments[key] = Environment(message=f"{STARTING}: {message}")


def built(draft: Draft, key: str) -> None:
    """It is there."""
    draft.environments[key] = Environment(here=True)
