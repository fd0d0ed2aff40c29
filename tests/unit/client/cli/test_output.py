"""What is written where: widths, colour, progress, and the end by Ctrl-C."""

from __future__ import annotations

import io
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from typing import Any

import pytest

from callmesh.cli import main as program
from callmesh.cli import output, progress, spans
from callmeshpb.v1 import scheduler_pb2

Capture = pytest.CaptureFixture[str]


def test_a_table_is_aligned_and_shortened_to_80_columns() -> None:
    rows = [
        {"name": "a", "what": "x" * 100, "why": None},
        {"name": "b-longer", "what": "short", "why": "line\nbreaks  go"},
    ]
    lines = output.table(rows, {"name": "NAME", "what": "WHAT", "why": "WHY"})
    assert max(map(len, lines)) == 80
    assert lines[0].split() == ["NAME", "WHAT", "WHY"]
    assert "x…  -" in lines[1]
    assert lines[2].endswith("line breaks go")
    assert {line.index("WHY") for line in lines[:1]} == {lines[2].index("line")}


def test_what_is_in_backticks_is_never_broken() -> None:
    text = "word " * 14 + "`callmesh get apps --project shop`"
    assert output.wrapped(text)[-1] == "`callmesh get apps --project shop`"
    long = "`" + "y " * 50 + "`"
    assert output.wrapped(long) == [long]


def test_fields_are_aligned_and_empty_ones_left_out() -> None:
    lines = output.fields([("a", "1"), ("long name", "word " * 20), ("none", "")], "  ")
    assert lines[0] == "  a          1"
    assert lines[1].startswith("  long name  word")
    assert lines[2].startswith("             word")
    assert len(lines) == 3


def test_colour_is_for_terminals_that_want_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert output.paint("x", "red", Terminal()) == "\x1b[31mx\x1b[0m"
    assert output.paint("x", "red", io.StringIO()) == "x"
    monkeypatch.setenv("NO_COLOR", "1")
    assert output.paint("x", "red", Terminal()) == "x"


@pytest.mark.parametrize(
    ("length", "text"),
    [
        (-1, "0 ms"),
        (0.0123, "12 ms"),
        (3.44, "3.4 s"),
        (42, "42 s"),
        (312, "5 m 12 s"),
        (7260, "2 h 1 m"),
        (183_600, "2 d 3 h"),
    ],
)
def test_spans_are_in_at_most_two_units(length: float, text: str) -> None:
    assert spans.span(length) == text


def test_without_a_terminal_progress_is_plain_lines(capsys: Capture) -> None:
    with progress.Progress("waiting") as shown:
        shown.line("one")
        shown.line("one")
        shown.reconnecting()
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines() == [
        "one",
        "reconnecting: the control plane is away; the mesh's calls go on",
    ]


def test_on_a_terminal_a_spinner_shows_what_is_waited_for() -> None:
    script = (
        "import time\nfrom callmesh.cli.progress import Progress\n"
        "with Progress('waiting for web') as shown:\n"
        "    time.sleep(0.8)\n    shown.line('app web: deploying')\n    time.sleep(0.3)\n"
    )
    ours, theirs = pty.openpty()
    process = subprocess.Popen([sys.executable, "-c", script], stderr=theirs)
    os.close(theirs)
    said = b""
    while True:
        try:
            part = os.read(ours, 4096)
        except OSError:  # the other side has closed
            break
        said += part
    assert process.wait() == 0
    os.close(ours)
    text = said.decode()
    assert "waiting for web" in text
    assert "0:00:00" in text
    assert "app web: deploying\r\n" in text
    assert text.endswith("\x1b[2K")


def test_ctrl_c_ends_with_130_and_says_what_goes_on(mesh: Any) -> None:
    watched = threading.Event()

    def watch(_: Any) -> list[scheduler_pb2.WatchRunResponse]:
        watched.set()
        run = scheduler_pb2.Run(phase=scheduler_pb2.RUN_PHASE_RUNNING)
        return [scheduler_pb2.WatchRunResponse(run=run)] * 100_000

    mesh.handlers["SchedulerService/RunTask"] = lambda _: scheduler_pb2.RunTaskResponse(
        run=scheduler_pb2.Run(name="r-1")
    )
    mesh.handlers["SchedulerService/WatchRun"] = watch
    process = subprocess.Popen(
        [sys.executable, "-m", "callmesh.cli.main", "run", "deployed-task", "add", "--x", "1"],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "CALLMESH_ENDPOINT": mesh.target},
    )
    assert watched.wait(20)
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 130, said
    assert "interrupted: run `r-1` goes on; `callmesh abort r-1` ends it" in " ".join(said.split())
    assert "Traceback" not in said


def test_an_unexpected_error_is_a_sentence(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise RuntimeError("something else")

    monkeypatch.setattr(program.cli, "main", fails)
    assert program.run(["status"]) == 1
    assert capsys.readouterr().err == "error: something else\n"
