"""Files by reference, without a mesh."""

from __future__ import annotations

from pathlib import Path

import pytest

from callmesh.io import Dir


def test_a_file_may_have_the_longest_name_that_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CALLMESH_STATE_DIR", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    name = "n" * 255
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / name).write_text("content")
    copy = Dir.from_local_sync(tmp_path / "folder").download_sync(tmp_path / "copy")
    assert {each.name: each.read_text() for each in Path(copy).iterdir()} == {name: "content"}
