"""What of the record is kept no longer: ended runs, kept results, versions, blobs.

Pure: the edge (``collector``) takes the snapshots and removes what is named here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field

from callmesh_server.core.world import TaskKey

DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class Caps:
    """How much is kept: the newest of each.

    ``runs`` ended ones, children counted, none that is older than ``days``;
    ``results`` of `Cache`. What was uploaded or registered less than ``grace``
    seconds ago stays, used or not: its run may be on its way.
    """

    runs: int = 10_000
    days: float = 30.0
    results: int = 10_000
    grace: float = DAY


@dataclass(frozen=True, slots=True)
class RunFact:
    """A recorded run. ``number`` is its place in the order of recording, ``at`` when
    it ended or, if it has not, when it began, epoch seconds."""

    number: int
    name: str
    parent: str
    task: TaskKey
    ended: bool
    at: float


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What is recorded at a time, epoch seconds."""

    now: float
    runs: Sequence[RunFact] = ()
    # The key of a kept result, and its run.
    results: Sequence[tuple[str, str]] = ()
    # Task versions that runs have registered, and when.
    ephemeral: Mapping[TaskKey, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Surplus:
    """What is to be removed, oldest first."""

    runs: tuple[str, ...] = ()
    results: tuple[tuple[str, str], ...] = ()
    tasks: tuple[TaskKey, ...] = ()


def surplus(snapshot: Snapshot, caps: Caps) -> Surplus:
    """What is over the caps.

    A run goes with all its children or not at all; it stays while one of them
    has not ended, or a kept result is one of theirs.
    """
    by_name = {run.name: run for run in snapshot.runs}
    kept, dropped = _results(snapshot.results, by_name, caps.results)
    runs = _runs(snapshot, by_name, {run for _, run in kept}, caps)
    gone = set(runs)
    used = {run.task for run in snapshot.runs if run.name not in gone}
    tasks = [
        key
        for key, at in sorted(snapshot.ephemeral.items(), key=lambda item: item[1])
        if key not in used and at < snapshot.now - caps.grace
    ]
    return Surplus(tuple(runs), tuple(dropped), tuple(tasks))


def unused_before(snapshot: Snapshot, caps: Caps) -> float:
    """Blobs that nobody has asked for since then may go, epoch seconds.

    A run that has not ended may hold references that no record shows yet.
    """
    began = (run.at for run in snapshot.runs if not run.ended)
    return min(began, default=snapshot.now) - caps.grace


def unreferenced(blobs: Mapping[str, float], marked: Set[str], before: float) -> tuple[str, ...]:
    """The blobs (digest → when last asked for) that no record names, oldest first."""
    return tuple(
        digest
        for digest, at in sorted(blobs.items(), key=lambda item: item[1])
        if at < before and digest not in marked
    )


def _results(
    results: Iterable[tuple[str, str]], by_name: Mapping[str, RunFact], cap: int
) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Those that are kept, and those that are not."""
    known = sorted(
        (each for each in results if each[1] in by_name),
        key=lambda each: by_name[each[1]].number,
    )
    lost = [each for each in results if each[1] not in by_name]
    over = max(0, len(known) - cap)
    return known[over:], lost + known[:over]


def _runs(
    snapshot: Snapshot, by_name: Mapping[str, RunFact], pinned: Set[str], caps: Caps
) -> list[str]:
    trees: dict[str, list[RunFact]] = {}
    for run in snapshot.runs:
        trees.setdefault(_root(run, by_name), []).append(run)
    left = sum(run.ended for run in snapshot.runs)
    oldest = snapshot.now - caps.days * DAY
    gone: list[str] = []
    for members in sorted(trees.values(), key=lambda tree: min(run.number for run in tree)):
        if any(not run.ended or run.name in pinned for run in members):
            continue
        if left > caps.runs or max(run.at for run in members) < oldest:
            gone += [run.name for run in members]
            left -= len(members)
    return gone


def _root(run: RunFact, by_name: Mapping[str, RunFact]) -> str:
    while (above := by_name.get(run.parent)) is not None:
        run = above
    return run.name
