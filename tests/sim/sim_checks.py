"""What must hold whatever happens, as sentences. A broken one ends the simulation."""

from __future__ import annotations

from callmesh_server.core import queue
from callmesh_server.core.attempts import has_ended
from callmesh_server.core.world import World, fence_of
from callmeshpb.v1 import registry_pb2
from callmeshpb.v1 import scheduler_pb2 as pb


class Broken(AssertionError):
    """A property does not hold."""


def _output_of(run: pb.Run) -> bytes:
    """Simulated tasks return the number of their attempt."""
    return f"{run.attempts[-1].number}".encode()


class Checks:
    """Looks on while the simulation runs, and remembers what it has to."""

    def __init__(self) -> None:
        self._results: dict[str, pb.Run] = {}
        self._fences: dict[str, tuple[int, int]] = {}
        self._executed: set[tuple[str, int, int]] = set()
        self._last_said: dict[str, int] = {}
        self.broken_revisions: set[tuple[str, int]] = set()

    def process_starts(self, process_id: str, living: list[str]) -> None:
        """There are never two live processes of one instance id."""
        if process_id in living:
            raise Broken(f"two live processes of `{process_id}` at once")

    def committed(self, run: pb.Run) -> None:
        """A run has exactly one recorded result, and its fence never goes back."""
        before = self._results.get(run.name)
        if before is not None and before != run:
            raise Broken(f"the result of run `{run.name}` was replaced")
        if run.phase == pb.RUN_PHASE_SUCCEEDED and run.outputs[0].json != _output_of(run):
            raise Broken(f"the result of run `{run.name}` is not that of its recorded attempt")
        if has_ended(run):
            self._results[run.name] = run
        if run.attempts:
            fence = fence_of(run.attempts[-1].fence)
            if fence < self._fences.get(run.name, (0, 0)):
                raise Broken(f"the fence of run `{run.name}` went back to {fence}")
            self._fences[run.name] = fence

    def executes(self, run: str, fence: tuple[int, int]) -> None:
        """User code runs at most once for an attempt."""
        key = (run, *fence)
        if key in self._executed:
            raise Broken(f"attempt {fence} of run `{run}` was executed twice")
        self._executed.add(key)

    def server_started(self) -> None:
        """A new server has heard nothing yet."""
        self._last_said.clear()

    def said(self, instance: str, state: int) -> None:
        """The server has taken in a node's report of an instance."""
        self._last_said[instance] = state

    def view_pushed(self, services: list[registry_pb2.Service]) -> None:
        """The view never names an endpoint that its node has not reported ready."""
        for service in services:
            for each in service.endpoints:
                ready = each.health == registry_pb2.ENDPOINT_HEALTH_READY
                if ready and self._last_said.get(each.instance_id) != pb.INSTANCE_STATE_READY:
                    raise Broken(f"the view calls `{each.instance_id}`, which is not ready")
                if ready and (service.name, each.revision) in self.broken_revisions:
                    raise Broken(f"the broken revision {each.revision} of `{service.name}` serves")

    def decided(self, world: World) -> None:
        """Nothing that fits waits once everything is decided."""
        turn = queue.next_turn(world)
        if turn is not None:
            raise Broken(f"run `{turn.run}` fits node `{turn.node}` and nobody dispatches it")
