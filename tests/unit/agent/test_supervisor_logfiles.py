"""Log files that are kept short."""

from __future__ import annotations

import os
from pathlib import Path

from callmesh_agent.supervisor.logfiles import cut, open_log

MIB = 1 << 20


def test_a_log_is_private_and_appended_to(tmp_path: Path) -> None:
    path = tmp_path / "app" / "one.log"
    for text in (b"a", b"b"):
        descriptor = open_log(path)
        os.write(descriptor, text)
        os.close(descriptor)
    assert path.read_bytes() == b"ab"
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_long_log_is_freed_under_its_writer_and_its_end_stays_in_place(tmp_path: Path) -> None:
    path = tmp_path / "one.log"
    descriptor = open_log(path)
    os.write(descriptor, b"o" * (4 * MIB) + b"newest")
    assert cut(path, longest=2 * MIB, kept=MIB)
    os.write(descriptor, b"after")
    os.close(descriptor)
    assert path.stat().st_size == 4 * MIB + len(b"newestafter")
    assert path.stat().st_blocks * 512 <= 2 * MIB
    assert path.read_bytes()[3 * MIB + 6 :] == b"o" * (MIB - 6) + b"newestafter"
    assert not cut(path, longest=2 * MIB, kept=MIB), "it is short already"


def test_a_short_or_absent_log_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "one.log"
    assert not cut(path)
    path.write_bytes(b"x" * 10)
    assert not cut(path, longest=MIB)
    assert path.read_bytes() == b"x" * 10
