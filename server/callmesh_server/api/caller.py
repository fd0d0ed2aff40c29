"""Who calls a method. The transport knows; handlers are told."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class CallerKind(enum.Enum):
    """What a caller is to the mesh."""

    # A person or their program: the Unix socket, or TCP with the token.
    USER = "user"
    # An app instance or a task worker, through its node's agent.
    WORKLOAD = "workload"
    # A node's agent.
    NODE = "node"


@dataclass(frozen=True, slots=True)
class Caller:
    """One caller. A workload's fields come from its agent, not from itself."""

    kind: CallerKind = CallerKind.USER
    node: str = ""
    # The run whose attempt asks, for a task worker.
    run: str = ""
    # The app, for an instance.
    app: str = ""
    project: str = ""
    domain: str = ""
    # Whose checked credentials a workload shows: "user", or "" for its own.
    acts_for: str = ""

    @property
    def label(self) -> str:
        """For a record's `requested_by`: "user", "run/NAME", "user via app/NAME", "node/NAME"."""
        return f"{self.acts_for} via {self._own}" if self.acts_for else self._own

    @property
    def _own(self) -> str:
        if self.run:
            return f"run/{self.run}"
        if self.app:
            return f"app/{self.app}"
        return f"node/{self.node}" if self.kind is CallerKind.NODE else self.kind.value


USER = Caller()
