"""The agent's decisions: `step(state, event, now) -> (state, instructions)`. Pure."""

from callmesh_agent.core.transitions import step

__all__ = ["step"]
