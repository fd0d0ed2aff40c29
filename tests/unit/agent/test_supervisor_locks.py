"""Locks of process ids."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from callmesh_agent.supervisor.locks import Locks, file_name
from callmesh_wire.errors import InvalidArgumentError


@pytest.mark.parametrize("process_id", ["envoy", "app/hello-1-x", "worker/a.b_c:d@e", "a/b/c"])
def test_an_id_has_a_file_name_of_its_own(process_id: str) -> None:
    name = file_name(process_id)
    assert "/" not in name
    assert name.replace("~", "/") == process_id


@pytest.mark.parametrize(
    "process_id", ["", "/", "a/", "/a", "a//b", "..", "a/..", "a b", "a~b", "x" * 201, "a\n"]
)
def test_what_is_no_id_is_refused(process_id: str) -> None:
    with pytest.raises(InvalidArgumentError, match="`process_id` must be"):
        file_name(process_id)


def test_a_lock_is_held_as_long_as_any_copy_of_its_descriptor(tmp_path: Path) -> None:
    locks = Locks(tmp_path)
    assert not locks.is_held("app/a")
    first = locks.take("app/a")
    assert first is not None
    copy = os.dup(first)
    assert locks.take("app/a") is None
    os.close(first)
    assert locks.is_held("app/a")
    os.close(copy)
    assert not locks.is_held("app/a")


def test_only_a_free_lock_is_removed(tmp_path: Path) -> None:
    folder = tmp_path / "locks"
    locks = Locks(folder)
    held = locks.take("app/a")
    assert held is not None
    locks.remove("app/a")
    locks.clear()
    assert locks.path("app/a").exists()
    os.close(held)
    locks.clear()
    assert not folder.exists()
