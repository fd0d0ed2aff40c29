"""Which runs a list shows: what the server does not filter by."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from callmesh.remote.details import ActionDetails
from callmeshpb.v1 import scheduler_pb2


@dataclass(frozen=True, slots=True)
class TimeFilter:
    """A span of time; a side that is None is open. Times without a zone are local."""

    after: datetime | None = None
    before: datetime | None = None

    def has(self, moment: datetime | None) -> bool:
        """The moment is within, the ends excluded."""
        if moment is None:
            return False
        after, before = (each.astimezone() if each else None for each in (self.after, self.before))
        return (after is None or moment > after) and (before is None or moment < before)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the server does not filter by."""

    version: str | None
    subject: str | None
    created: TimeFilter | None
    updated: TimeFilter | None

    @property
    def narrows(self) -> bool:
        """It leaves runs out."""
        return any((self.version, self.subject, self.created, self.updated))

    def has(self, record: scheduler_pb2.Run) -> bool:
        """The run is among them."""
        state = ActionDetails(record)
        return (
            (not self.version or record.task_version == self.version)
            and (not self.subject or record.requested_by == self.subject)
            and (self.created is None or self.created.has(state.created_at))
            and (
                self.updated is None
                or self.updated.has(state.ended_at or state.started_at or state.created_at)
            )
        )
