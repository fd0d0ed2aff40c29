"""Who the mesh takes this code's caller for."""

from __future__ import annotations

from callmesh._sync import class_method
from callmesh._transport import call
from callmeshpb.v1 import scheduler_pb2


class User:
    """One caller, as a run's ``requested_by`` names it."""

    def __init__(self, label: str) -> None:
        self._label = label

    @class_method
    @classmethod
    async def get(cls) -> User:
        """Who asks. Raises `errors.UnauthenticatedError` for credentials that are not known."""
        answer = await call(
            scheduler_pb2.GetServerResponse,
            "SchedulerService/GetServer",
            scheduler_pb2.GetServerRequest(),
        )
        return cls(answer.caller)

    def subject(self) -> str:
        """`user` for the holder of the API token, `app/NAME`, `user via app/NAME`."""
        return self._label

    def name(self) -> str:
        """The same without what it came through: the mesh keeps no names of people."""
        return self._label.partition(" via ")[0]

    def __repr__(self) -> str:
        return f"<user `{self._label}`>"
