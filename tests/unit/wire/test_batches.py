"""Messages in batches."""

from __future__ import annotations

import pytest

from callmesh_wire import batches as module
from callmesh_wire.batches import batches
from callmeshpb.v1 import node_pb2


def chunks(*sizes: int) -> list[node_pb2.LogChunk]:
    return [node_pb2.LogChunk(lines=["x" * size]) for size in sizes]


def test_nothing_makes_no_batch() -> None:
    assert list(batches([])) == []


def test_a_batch_has_a_bounded_count() -> None:
    given = chunks(*range(module.COUNT + 1))
    made = list(batches(given))
    assert [len(each) for each in made] == [module.COUNT, 1]
    assert [each for batch in made for each in batch] == given


def test_a_batch_has_a_bounded_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SIZE", 100)
    made = list(batches(chunks(40, 40, 40, 500, 1)))
    assert [len(each) for each in made] == [2, 1, 1, 1]
