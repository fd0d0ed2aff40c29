"""What `callmesh dev` learns of a deploy, and of files."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from callmesh.cli.dev_loop import Contents, Redeploy

APP = """
import callmesh as flyte
env = flyte.app.AppEnvironment(name="broad", args="sleep 1", include=["data"])
"""


def test_a_report_that_is_longer_than_a_pipe_holds_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [each for each in os.environ if each.startswith("CALLMESH_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "data").mkdir()
    for number in range(1000):
        (tmp_path / "data" / f"{number:0100}").touch()
    file = tmp_path / "broad_app.py"
    file.write_text(APP)
    deploy = Redeploy([str(file)], [])
    try:
        deploy.go([])
        end = time.monotonic() + 60
        while not deploy.has_ended():
            assert time.monotonic() < end, "it waits for somebody who reads its report"
            time.sleep(0.05)
        report = deploy.report()
    finally:
        deploy.end()
    assert report is not None
    assert len(report["files"]) == 1001


def test_only_what_was_written_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "one.py"
    file.write_text("ANSWER = 1")
    os.utime(file, (1000, 1000))
    contents = Contents()
    before = contents.of([file, tmp_path / "none.py"])
    assert list(before) == [file]
    file.write_text("ANSWER = 2")
    assert contents.of([file]) != before
    os.utime(file, (1000, 1000))
    known = contents.of([file])
    file.write_text("ANSWER = 3")
    os.utime(file, (1000, 1000))
    assert contents.of([file]) == known
