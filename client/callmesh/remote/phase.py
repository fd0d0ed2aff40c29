"""The phases of a run, as Flyte spells them."""

from __future__ import annotations

from enum import Enum
from typing import cast

from callmeshpb.v1 import scheduler_pb2


class ActionPhase(str, Enum):  # noqa: UP042 - str() of Flyte's is the value, too
    """Where a run is. Its text is lower-case: ``run.phase == "succeeded"``."""

    QUEUED = "queued"
    WAITING_FOR_RESOURCES = "waiting_for_resources"
    INITIALIZING = "initializing"
    RUNNING = "running"
    PAUSED = "paused"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    ABORTED = "aborted"
    TIMED_OUT = "timed_out"
    RECOVERED = "recovered"

    def __str__(self) -> str:
        return str(self.value)

    @property
    def is_terminal(self) -> bool:
        """The run has ended."""
        return self in _TERMINAL

    @classmethod
    def of(cls, phase: scheduler_pb2.RunPhase) -> ActionPhase:
        """A phase from the wire; one that is not known is `QUEUED`."""
        return _BY_WIRE.get(phase, cls.QUEUED)

    @property
    def wire(self) -> scheduler_pb2.RunPhase:
        """The phase on the wire."""
        return cast(
            "scheduler_pb2.RunPhase", scheduler_pb2.RunPhase.Value(f"RUN_PHASE_{self.name}")
        )


_BY_WIRE = {
    number: ActionPhase[name.removeprefix("RUN_PHASE_")]
    for name, number in scheduler_pb2.RunPhase.items()
    if name.removeprefix("RUN_PHASE_") in ActionPhase.__members__
}
_TERMINAL = frozenset(
    (
        ActionPhase.SUCCEEDED,
        ActionPhase.FAILED,
        ActionPhase.ABORTED,
        ActionPhase.TIMED_OUT,
        ActionPhase.RECOVERED,
    )
)
