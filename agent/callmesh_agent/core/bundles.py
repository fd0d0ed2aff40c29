"""Code on this node's disk: unpacked once, when something needs it."""

from __future__ import annotations

from callmesh_agent.core.draft import Draft
from callmesh_agent.core.instructions import UnpackBundle
from callmesh_agent.core.state import BundleState


def need(draft: Draft, digest: str) -> bool:
    """Whether the code is there; it is fetched if it is not."""
    if not digest:
        return True
    state = draft.bundles.get(digest)
    if state is None:
        draft.bundles[digest] = BundleState.UNPACKING
        draft.do(UnpackBundle(digest))
    return state is BundleState.HERE
