"""What the record keeps no longer."""

from __future__ import annotations

from dataclasses import replace

from callmesh_server.core.collection import (
    DAY,
    Caps,
    RunFact,
    Snapshot,
    surplus,
    unreferenced,
    unused_before,
)
from callmesh_server.core.world import TaskKey

NOW = 1_000 * DAY
TASK = TaskKey("default", "development", "jobs.work", "v1")


def fact(number: int, parent: str = "", **more: object) -> RunFact:
    made = RunFact(number, f"r{number}", parent, TASK, ended=True, at=NOW - 60)
    return replace(made, **more)  # type: ignore[arg-type]


def gone(*runs: RunFact, caps: Caps, results: tuple[tuple[str, str], ...] = ()) -> list[str]:
    return list(surplus(Snapshot(NOW, runs, results), caps).runs)


def test_the_oldest_go_first_and_no_more_than_needed() -> None:
    runs = [fact(number) for number in (3, 1, 4, 2)]
    assert gone(*runs, caps=Caps(runs=2)) == ["r1", "r2"]
    assert gone(*runs, caps=Caps(runs=4)) == []


def test_a_run_over_the_age_goes_though_there_is_room() -> None:
    old = fact(1, at=NOW - 31 * DAY)
    assert gone(old, fact(2), caps=Caps()) == ["r1"]


def test_children_go_with_their_root_and_not_before_it() -> None:
    root, child, grandchild = fact(1), fact(2, "r1"), fact(5, "r2")
    caps = Caps(runs=2)
    assert gone(root, child, fact(3), fact(4), grandchild, caps=caps) == ["r1", "r2", "r5"]
    still_young = replace(grandchild, at=NOW)
    ages = [replace(each, at=NOW - 90 * DAY) for each in (root, child)]
    assert gone(*ages, still_young, caps=Caps()) == []


def test_what_has_not_ended_keeps_its_whole_tree() -> None:
    running = fact(2, "r1", ended=False)
    assert gone(fact(1), running, fact(3, "r1"), fact(4), caps=Caps(runs=0)) == ["r4"]


def test_the_run_of_a_kept_result_stays_until_the_result_goes() -> None:
    runs = [fact(1), fact(2), fact(3)]
    results = (("a", "r1"), ("b", "r2"), ("c", "unknown"))
    found = surplus(Snapshot(NOW, runs, results), Caps(runs=0, results=1))
    assert found.results == (("c", "unknown"), ("a", "r1"))
    assert found.runs == ("r1", "r3")


def test_a_version_goes_once_no_kept_run_names_it() -> None:
    other = TASK._replace(version="v2")
    young = TASK._replace(version="v3")
    versions = {TASK: NOW - 5 * DAY, other: NOW - 9 * DAY, young: NOW - 60}
    snapshot = Snapshot(NOW, [fact(1)], (), versions)
    assert surplus(snapshot, Caps()).tasks == (other,)
    assert surplus(snapshot, Caps(runs=0)).tasks == (other, TASK)


def test_blobs_stay_while_named_asked_for_or_possibly_held() -> None:
    caps = Caps(grace=DAY)
    running = fact(1, ended=False, at=NOW - 10 * DAY)
    assert unused_before(Snapshot(NOW), caps) == NOW - DAY
    assert unused_before(Snapshot(NOW, [running, fact(2)]), caps) == NOW - 11 * DAY
    blobs = {"named": 1.0, "young": NOW, "old": 3.0, "older": 2.0}
    assert unreferenced(blobs, {"named"}, NOW - DAY) == ("older", "old")
