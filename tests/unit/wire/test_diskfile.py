"""Files that are whole at every moment, and secrets that are made once."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from callmesh_wire.diskfile import read_or_make, token, write_whole
from callmesh_wire.sealing import Seal


def test_a_file_is_replaced_whole(tmp_path):
    path = tmp_path / "a"
    write_whole(path, b"one")
    before = path.open("rb")
    write_whole(path, b"two")
    assert (before.read(), path.read_bytes()) == (b"one", b"two")
    assert path.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["a"]
    before.close()


def test_what_a_killed_writer_left_is_written_over(tmp_path):
    path = tmp_path / "a"
    child = os.fork()
    if not child:
        Path.replace = lambda *_: os._exit(9)
        try:
            write_whole(path, b"half")
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert [each.name for each in tmp_path.iterdir()] != ["a"]
    write_whole(path, b"whole")
    assert [each.read_bytes() for each in tmp_path.iterdir()] == [b"whole"]


def test_a_token_is_made_once_and_private(tmp_path):
    path = tmp_path / "agent" / "identity"
    made = token(path)
    assert token(path) == made
    assert len(made) > 30
    assert path.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in path.parent.iterdir()] == ["identity"]


def test_what_cannot_be_written_whole_is_not_made(tmp_path, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        token(tmp_path / "identity")
    assert list(tmp_path.iterdir()) == []


def test_all_who_make_a_file_at_once_get_the_same(tmp_path):
    barrier = threading.Barrier(8)

    def content():
        barrier.wait(10)
        return os.urandom(32)

    with ThreadPoolExecutor(8) as pool:
        got = set(pool.map(lambda _: read_or_make(tmp_path / "key", content), range(8)))
    assert got == {(tmp_path / "key").read_bytes()}
    assert [each.name for each in tmp_path.iterdir()] == ["key"]


def test_what_is_sealed_first_by_many_at_once_is_read_by_all(tmp_path):
    seal = Seal(tmp_path / "key")
    with ThreadPoolExecutor(8) as pool:
        sealed = list(pool.map(lambda _: seal.seal(b"label", b"value"), range(8)))
    assert {seal.unseal(b"label", each) for each in sealed} == {b"value"}
