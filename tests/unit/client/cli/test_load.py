"""A user's file is imported as it stands."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from callmesh.cli import load


def test_a_second_edit_within_a_second_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    file = tmp_path / "edited_twice.py"
    seen = []
    for version in (1, 2):
        file.write_text(f"VERSION = {version}\n")
        # Same second, same size: all that a bytecode cache looks at.
        os.utime(file, (1_700_000_000, 1_700_000_000))
        seen.append(load.module_of(str(file)).VERSION)
        del sys.modules["edited_twice"]
    assert seen == [1, 2]
