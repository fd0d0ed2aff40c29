"""What must hold whatever happens, as sentences. A broken one ends the simulation."""

from __future__ import annotations

from collections.abc import Callable, Set

from sim_clock import Clock

from callmesh_server.core import queue
from callmesh_server.core.attempts import ACTIVE_ATTEMPTS, COUNTED_ATTEMPTS, HANDED_ON, has_ended
from callmesh_server.core.endings import MAX_LOST
from callmesh_server.core.world import World, fence_of
from callmesh_wire.names import AppName
from callmeshpb.v1 import node_pb2, registry_pb2
from callmeshpb.v1 import scheduler_pb2 as pb

# A node that has been in reach for so long has a session: its lease, and a breath.
PATIENCE = 11.0


class Broken(AssertionError):
    """A property does not hold."""


def _output_of(run: pb.Run) -> bytes:
    """Simulated tasks return the number of their attempt."""
    return f"{run.attempts[-1].number}".encode()


class Checks:
    """Looks on while the simulation runs, and remembers what it has to."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._results: dict[str, pb.Run] = {}
        self._fences: dict[str, tuple[int, int]] = {}
        self._executed: set[tuple[str, int, int]] = set()
        self._last_said: dict[str, int] = {}
        # By node: what was on it when its drain was seen.
        self._drained: dict[str, set[str]] = {}
        self._lost_at: dict[str, float] = {}
        self._prepared_at: dict[tuple[str, int, int], float] = {}
        self._lost_attempts: set[tuple[str, int, int]] = set()
        # By app: what could be called in the last view.
        self._callable: dict[AppName, set[str]] = {}
        # A user's wish ended these.
        self._sent_away: set[str] = set()
        self._said_anew: dict[str, set[str]] = {}
        self._living: dict[str, str] = {}
        self._versions: dict[str, int] = {}
        # Of each view that a server made: the services' tags.
        self._tags: dict[int, dict[str, int]] = {}
        self._lost: set[str] = set()
        self.broken_revisions: set[tuple[str, int]] = set()
        # What is on disk; since when a node lives and can be reached, or None.
        # By task: how often a run may be tried again.
        self.retries: dict[str, int] = {}
        # Whether a living worker executes an attempt or holds its end; whether an instance
        # takes calls.
        self.is_held: Callable[[tuple[str, int, int]], bool]
        self.listens: Callable[[str], bool]
        self.run_on_disk: Callable[[str], pb.Run | None]
        self.fine_since: Callable[[str], float | None]

    def fail(self, sentence: str) -> None:
        """End the simulation: a property does not hold. Raises `Broken`."""
        self._clock.broken = self._clock.broken or sentence
        raise Broken(sentence)

    def defect(self, defect: BaseException) -> None:
        """Code of the product raised what it should not have."""
        frame = defect.__traceback__
        while frame is not None and frame.tb_next is not None:
            frame = frame.tb_next
        where = f"{frame.tb_frame.f_code.co_filename}:{frame.tb_lineno}" if frame else "?"
        sentence = f"a defect: {type(defect).__name__}: {defect} at {where}"
        self._clock.broken = self._clock.broken or sentence

    # Processes

    def process_starts(self, process_id: str, node: str) -> None:
        """There are never two live processes of one instance id, on whatever nodes."""
        if not process_id.startswith("app/"):
            process_id = f"{node}:{process_id}"
        if process_id in self._living:
            where = self._living[process_id]
            self.fail(f"two live processes of `{process_id}` at once, on {where} and {node}")
        self._living[process_id] = node

    def process_ended(self, process_id: str, node: str) -> None:
        self._living.pop(process_id, None)
        self._living.pop(f"{node}:{process_id}", None)

    # Runs

    def committed(self, run: pb.Run) -> None:
        """A run has exactly one recorded result, and its fence never goes back."""
        before = self._results.get(run.name)
        if before is not None and before != run:
            self.fail(f"the result of run `{run.name}` was replaced")
        if run.phase == pb.RUN_PHASE_SUCCEEDED and run.outputs[0].json != _output_of(run):
            self.fail(f"the result of run `{run.name}` is not that of its recorded attempt")
        if has_ended(run):
            self._results[run.name] = run
        self._tries(run)
        for attempt in run.attempts:
            # One that was handed on is called so as well: its node was told to end it.
            if attempt.phase == pb.ATTEMPT_PHASE_LOST and attempt.error.type != HANDED_ON:
                self._lost_attempt(run.name, attempt)
        if run.attempts:
            fence = fence_of(run.attempts[-1].fence)
            if fence < self._fences.get(run.name, (0, 0)):
                self.fail(f"the fence of run `{run.name}` went back to {fence}")
            self._fences[run.name] = fence

    def _tries(self, run: pb.Run) -> None:
        """A run that fails is tried as often as its policy says, not more, not less."""
        allowed = 1 + self.retries[run.task]
        failed = sum(each.phase in COUNTED_ATTEMPTS for each in run.attempts)
        if failed > allowed:
            self.fail(f"run `{run.name}` failed {failed} times, and may {allowed} times")
        gave_up = run.phase in (pb.RUN_PHASE_FAILED, pb.RUN_PHASE_TIMED_OUT)
        lost = sum(each.phase == pb.ATTEMPT_PHASE_LOST for each in run.attempts)
        if gave_up and failed < allowed and lost <= MAX_LOST:
            self.fail(f"run `{run.name}` is given up after {failed} of {allowed} tries")

    def _lost_attempt(self, name: str, attempt: pb.Attempt) -> None:
        """An attempt is not lost that a worker executes, or holds the end of, on a node that was
        not lost since."""
        key = (name, *fence_of(attempt.fence))
        if key in self._lost_attempts:
            return
        self._lost_attempts.add(key)
        was_lost = self._lost_at.get(attempt.node, 0.0) >= self._prepared_at.get(key, 0.0)
        if not was_lost and self.is_held(key):
            self.fail(f"attempt {key[1:]} of run `{name}` is called lost, and its worker has it")

    def executes(self, run: str, fence: tuple[int, int]) -> None:
        """User code runs at most once for an attempt, and never before the attempt is on disk."""
        key = (run, *fence)
        if key in self._executed:
            self.fail(f"attempt {fence} of run `{run}` was executed twice")
        self._executed.add(key)
        if self._attempt_on_disk(run, fence) is None:
            self.fail(f"attempt {fence} of run `{run}` executes and is not on disk")

    def _attempt_on_disk(self, name: str, fence: tuple[int, int]) -> pb.Attempt | None:
        run = self.run_on_disk(name)
        found = [each for each in run.attempts if fence_of(each.fence) == fence] if run else []
        return found[0] if found else None

    def shown(self, run: pb.Run | None) -> None:
        """Nobody sees the end of a run before it is on disk."""
        if run is not None and has_ended(run):
            self.fail(f"the end of run `{run.name}` is shown before it is on disk")

    # What the server says

    def sent(self, node: str, message: node_pb2.ServerMessage) -> None:
        """Neither a go nor an acknowledgement leaves before what it stands for is on disk.

        Of two desired sets, or views, the later has the higher version, over
        restarts of the server too.
        """
        kind = message.WhichOneof("message")
        if kind == "go":
            fence = fence_of(message.go.fence)
            if self._attempt_on_disk(message.go.run, fence) is None:
                self.fail(f"the go of run `{message.go.run}` leaves before its attempt is on disk")
        elif kind == "prepare":
            key = (message.prepare.run, *fence_of(message.prepare.fence))
            self._prepared_at[key] = self._clock.now
        elif kind == "ack":
            self._acknowledged(message.ack)
        elif kind in ("desired", "mesh_view", "mesh_delta"):
            key = f"{kind.removesuffix('_delta').removesuffix('_view')} of {node}"
            version = getattr(message, kind).version
            if version < self._versions.get(key, 0):
                self.fail(f"the {key} goes back to version {version}")
            self._versions[key] = version

    def _acknowledged(self, ack: node_pb2.AttemptAck) -> None:
        attempt = self._attempt_on_disk(ack.run, fence_of(ack.fence))
        if attempt is not None and attempt.phase in ACTIVE_ATTEMPTS:
            self.fail(f"run `{ack.run}` is acknowledged before its attempt's end is on disk")

    def server_started(self) -> None:
        """A new server has heard nothing yet."""
        self._last_said.clear()
        self._lost.clear()
        self._drained.clear()

    def joined(self, node: str) -> None:
        """A session of the node begins: it says everything again."""
        self._said_anew[node] = set()

    def said(self, node: str, report: node_pb2.InstanceReport) -> None:
        """The server has taken in a node's report of an instance."""
        self._last_said[report.id] = 0 if report.gone else report.status.state
        self._said_anew[node].add(report.id)

    def said_everything(self, world: World, node: str) -> None:
        """What the node has not reported by now, it does not have."""
        self._forget(world, node, self._said_anew[node])

    def _forget(self, world: World, node: str, but: Set[str] = frozenset()) -> None:
        for each in world.instances_on_node.get(node, frozenset()) - but:
            self._last_said.pop(each, None)

    def _look_around(self, world: World) -> None:
        for app in world.apps.values():
            if app.deleting or app.desired_state == pb.DESIRED_STATE_INACTIVE:
                name = AppName(app.spec.project, app.spec.domain, app.spec.name)
                self._sent_away |= world.instances_of_app.get(name, frozenset())
        for name, state in world.nodes.items():
            if state.record.drain.expired:
                self._sent_away |= world.instances_on_node.get(name, frozenset())
            if not state.lost:
                self._lost.discard(name)
            elif name not in self._lost:
                self._lost.add(name)
                self._lost_at[name] = self._clock.now
                self._forget(world, name)
                self._given_up(name)

    def view_pushed(self, world: World, services: list[registry_pb2.Service]) -> None:
        """The view names no endpoint that its node has not reported ready, nor one of a node
        that is lost, nor a broken revision; and none is left out that could be called alone."""
        self._look_around(world)
        for service in services:
            name = AppName(service.project, service.domain, service.name)
            before, here = self._callable.get(name, set()), set()
            for each in service.endpoints:
                if world.is_lost(each.node):
                    self.fail(f"the view calls `{each.instance_id}` on a lost node")
                if each.health != registry_pb2.ENDPOINT_HEALTH_READY:
                    continue
                here.add(each.instance_id)
                if self._last_said.get(each.instance_id) != pb.INSTANCE_STATE_READY:
                    self.fail(f"the view calls `{each.instance_id}`, which is not ready")
                if (service.name, each.revision) in self.broken_revisions:
                    self.fail(f"the broken revision {each.revision} of `{service.name}` serves")
            self._callable[name] = here
            if not here:
                self._nobody_left(world, name, before)

    def view_made(self, view: node_pb2.MeshView) -> None:
        """The server gives a version to this."""
        self._tags[view.version] = {each.service.mesh_name: each.tag for each in view.services}

    def view_held(self, node: str, view: node_pb2.MeshView) -> None:
        """What a node has put together is what the server called by that version."""
        held = {each.service.mesh_name: each.tag for each in view.services}
        if held != self._tags.get(view.version):
            self.fail(f"view {view.version} of {node} is not the server's: {sorted(held)}")

    def _nobody_left(self, world: World, name: AppName, before: set[str]) -> None:
        """An active app whose serving revision has a ready instance can be called."""
        app = world.apps.get(name)
        if (
            app is None
            or app.deleting
            or app.desired_state == pb.DESIRED_STATE_INACTIVE
            or not app.serving_revision
            or app.spec.port
            or app.serving_spec.port
        ):
            return
        for each in world.instances_of(name):
            said = self._last_said.get(each.id, pb.INSTANCE_STATE_READY if each.id in before else 0)
            if (
                said == pb.INSTANCE_STATE_READY
                and each.revision == app.serving_revision
                and each.id not in self._sent_away
                and each.node not in self._lost
                and self.listens(each.id)
            ):
                self.fail(f"nobody can call app `{name.name}`, and `{each.id}` is ready")

    def decided(self, world: World) -> None:
        """Nothing that fits waits once everything is decided; and a node that lives and can be
        reached is not given up."""
        turn = queue.next_turn(world)
        if turn is not None:
            self.fail(f"run `{turn.run}` fits node `{turn.node}` and nobody dispatches it")
        self._look_around(world)
        for name, state in world.nodes.items():
            if state.draining:
                self._nothing_new(world, name)
            else:
                self._drained.pop(name, None)

    def _nothing_new(self, world: World, node: str) -> None:
        """Nothing is placed on a node that is drained."""
        attempts = {
            f"{run} {fence_of(world.runs[run].attempts[-1].fence)}"
            for run in world.runs_on_node.get(node, ())
        }
        here = attempts | set(world.instances_on_node.get(node, ()))
        before = self._drained.setdefault(node, here)
        if here - before:
            self.fail(f"node `{node}` is drained and gets {sorted(here - before)}")

    def _given_up(self, node: str) -> None:
        since = self.fine_since(node)
        if since is not None and self._clock.now - since > PATIENCE:
            lived = self._clock.now - since
            self.fail(f"node `{node}` is given up, which has lived in reach for {lived:.1f} s")
