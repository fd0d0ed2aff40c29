"""Bugs to put in on purpose, so that the simulator shows that it finds such.

A bug is a piece of one function's source that is written otherwise while it is
`planted`. By hand: ``python tests/sim/bugs.py [NAME …]`` plants each, says what
found it at which seed, and prints the table that README.md shows.
"""

from __future__ import annotations
import __future__

import inspect
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FunctionType
from typing import Any

from callmesh_agent import outbox, session
from callmesh_agent.core import attempts as agent_attempts
from callmesh_agent.core import instances as agent_instances
from callmesh_agent.core import reports, transitions
from callmesh_server import apply, loop, pushes, run_writes, sessions
from callmesh_server.core import (
    attempt_reports,
    attempts,
    endings,
    ledger,
    liveness,
    rollout,
    view,
)

# So many histories find each.
SEEDS = 150


@dataclass(frozen=True, slots=True)
class Bug:
    """One bug: in ``function`` stands ``wrong`` instead of ``right``."""

    name: str
    # What it breaks, for a reader.
    breaks: str
    function: Callable[..., Any]
    right: str
    wrong: str

    @contextmanager
    def planted(self) -> Iterator[None]:
        """The bug is in the product until the end. Raises `LookupError` if it does not fit."""
        function = inspect.unwrap(self.function)
        assert isinstance(function, FunctionType)
        source = textwrap.dedent(inspect.getsource(function))
        if source.count(self.right) != 1:
            raise LookupError(
                f"bug `{self.name}` cannot be planted: {function.__qualname__} does not have "
                f"{self.right!r} once: write the bug anew in tests/sim/bugs.py"
            )
        made: dict[str, Any] = {}
        flags = __future__.annotations.compiler_flag
        code = compile(source.replace(self.right, self.wrong), "bug", "exec", flags)
        exec(code, function.__globals__, made)
        sound = function.__code__
        function.__code__ = made[function.__name__].__code__
        try:
            yield
        finally:
            function.__code__ = sound


BUGS = [
    # The server's decisions.
    Bug(
        "fence dropped",
        "a late report of a lost attempt counts for the next one",
        attempt_reports.reported,
        "or attempt.node != node\n        or fence_of(attempt.fence) != fence_of(report.fence)",
        "",
    ),
    Bug(
        "retries not counted",
        "a task that always fails is tried for ever",
        attempts.counted,
        "each.phase in COUNTED_ATTEMPTS",
        "each.phase == scheduler_pb2.ATTEMPT_PHASE_ABORTED",
    ),
    Bug(
        "backoff without a wake",
        "a run that is to be tried again later never is",
        endings._again,
        "return [PutRun(run), WakeAt(RunKey(run.name), now + delay)]",
        "return [PutRun(run)]",
    ),
    Bug(
        "queue not told of a free slot",
        "a run waits beside a node that has room",
        ledger.Ledger._capacity_keys,
        "[QUEUE] if self._waiting else []",
        "[]",
    ),
    Bug(
        "lease never over",
        "what was on a lost machine is never started elsewhere",
        liveness.reconcile,
        "elif now >= state.lease_until:",
        "elif state.connected and now >= state.lease_until:",
    ),
    Bug(
        "draining is ready",
        "new calls reach an instance that is being emptied",
        view._endpoint,
        "health=_READY if stays else _DRAINING",
        "health=_READY",
    ),
    Bug(
        "believed before it was heard",
        "a new server shows endpoints as its disk has them",
        liveness.remembered,
        "lease_until=until,",
        "lease_until=until, heard=True,",
    ),
    Bug(
        "view before it is settled",
        "a new server takes running apps out of every Envoy",
        liveness.is_settled,
        "all(each.heard or each.lost for each in world.nodes.values())",
        "True",
    ),
    Bug(
        "takes over half ready",
        "a revision serves whose instances do not start",
        rollout.rollout_of,
        "gate.open and ready(crew.newest) >= wanted",
        "gate.open and len(crew.newest) >= wanted",
    ),
    # The server's edge.
    Bug(
        "go before the commit",
        "user code runs for an attempt that a crash forgets",
        apply.Applier.perform,
        "self._runs.after_commit(name, node, go(name, fence))",
        "self._outboxes.send(node, go(name, fence))",
    ),
    Bug(
        "ack before the commit",
        "a node forgets a result that a crash loses",
        apply.Applier.perform,
        "self._runs.after_commit(name, node, ack(name, fence))",
        "self._outboxes.send(node, ack(name, fence))",
    ),
    Bug(
        "lazy write after the end",
        "an old state of a run is written over its end",
        run_writes.RunWrites.put,
        "self._lazy.pop(name, None)",
        "pass",
    ),
    Bug(
        "versions begin anew",
        "an agent takes an old set for a newer one after a restart of the server",
        pushes.Pushes.__init__,
        "self._version = epoch << 32",
        "self._version = 0",
    ),
    Bug(
        "no lease after a standstill",
        "a server that was stopped takes every node for lost",
        loop.Loop._woken,
        "elif now - self._timer_at > STANDSTILL:",
        "elif False:",
    ),
    # The rules of the session.
    Bug(
        "old session ends the new one",
        "a node that has reconnected counts as disconnected",
        sessions.Sessions._close,
        "if self._sessions.get(session.node) is not session:",
        "if self._sessions.get(session.node) is None:",
    ),
    Bug(
        "opened without an outbox",
        "what a node says first after a reconnect is dropped",
        session.Session._serve,
        "self._outbox = outbox\n        self._deliver(events.SessionOpened())",
        "self._deliver(events.SessionOpened())\n        self._outbox = outbox",
    ),
    Bug(
        "report not replaced",
        "what a node says of an instance is older than what it knows",
        outbox.Outbox.put,
        "self._waiting[key] = message",
        "self._waiting.setdefault(key, message)",
    ),
    Bug(
        "instances share a report",
        "what is said of one instance replaces what is said of another",
        session.Session.report_instance,
        '("instance", report.id)',
        '"instance"',
    ),
    # The agent's decisions.
    Bug(
        "complete before the reports",
        "a reconnect makes the server take what runs for lost",
        transitions._session_opened,
        "    for attempt in draft.attempts.values():",
        "    draft.do(ReportAttemptsComplete())\n    for attempt in draft.attempts.values():",
    ),
    Bug(
        "prepared is released",
        "user code runs before its attempt is on disk",
        agent_attempts.ordered,
        "pool=pool, order=order)",
        "pool=pool, order=order, released=True)",
    ),
    Bug(
        "worker's end not told",
        "a run waits for a worker that was killed",
        agent_attempts.worker_gone,
        "attempt is not None and attempt.stage is not Stage.ENDED",
        "attempt is not None and attempt.stage is Stage.RUNNING",
    ),
    Bug(
        "unwanted lives on",
        "an instance goes on that was taken away while its node was cut off",
        agent_instances.receive_desired,
        "sorted(set(draft.instances) - set(wanted))",
        "()",
    ),
    Bug(
        "gone is not said",
        "an app that was deleted is never forgotten",
        reports.instance_report,
        "gone=instance.phase is Phase.STOPPED",
        "gone=False",
    ),
]


def found_by(bug: Bug, seeds: range) -> tuple[int, str] | None:
    """The first of the seeds that finds a bug, and the property that it broke."""
    from sim_run import play_steps
    from sim_story import story

    with bug.planted():
        for seed in seeds:
            failure = play_steps(seed, story(seed))
            if failure is not None:
                return seed, failure.sentence
    return None


def main(names: list[str]) -> None:
    """Print the table of README.md."""
    print("| bug | where | what it breaks | found at seed | by |\n|---|---|---|---|---|")
    for bug in BUGS:
        if names and bug.name not in names:
            continue
        found = found_by(bug, range(SEEDS))
        seed, sentence = found or (-1, "not found")
        sentence = sentence if len(sentence) <= 90 else f"{sentence[:88].rstrip()}…"
        where = f"`{bug.function.__module__.removeprefix('callmesh_')}.{bug.function.__name__}`"
        print(f"| {bug.name} | {where} | {bug.breaks} | {seed} | {sentence} |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
