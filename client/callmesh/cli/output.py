"""What a person or a script reads: lines, tables, JSON, errors and hints.

Everything fits 80 columns, and says the same without colour.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import NoReturn, TextIO

WIDTH = 80
DONE, FAILED, USAGE, UNREACHABLE, INTERRUPTED = 0, 1, 2, 3, 130

_COLOURS = {"red": "31", "green": "32", "yellow": "33", "blue": "34", "dim": "2", "bold": "1"}
_LITERAL = re.compile(r"`[^`]+`")
_TIED = "\0"
_STATES = {
    "ready": "green",
    "succeeded": "green",
    "running": "blue",
    "true": "green",
    "failed": "red",
    "timed_out": "red",
    "aborted": "red",
    "lost": "red",
    "backoff": "red",
    "unhealthy": "red",
    "pending": "yellow",
    "deploying": "yellow",
    "queued": "yellow",
    "waiting_for_resources": "yellow",
    "draining": "yellow",
    "away": "yellow",
}


class Stop(Exception):
    """Ends the command: an error for the user, with the next step as a hint."""

    def __init__(self, message: str, *, hint: str = "", code: int = FAILED) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.code = code


def data(text: str) -> None:
    """One piece of the answer, on stdout."""
    sys.stdout.write(f"{text}\n")


def say(text: str = "") -> None:
    """Something about the answer, on stderr."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def show_json(value: object) -> None:
    """A value as JSON on stdout."""
    data(json.dumps(value, indent=2, ensure_ascii=False))


def error(message: str, hint: str = "") -> None:
    """``error: …`` and, after a blank line, ``hint: …``, on stderr."""
    _labelled("error:", "red", message)
    if hint:
        say()
        _labelled("hint:", "blue", hint)


def stop(message: str, *, hint: str = "", code: int = FAILED) -> NoReturn:
    """End the command with an error."""
    raise Stop(message, hint=hint, code=code)


def has_colour(stream: TextIO) -> bool:
    """Whether to write colour to a stream: a terminal, and nobody said NO_COLOR."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def paint(text: str, colour: str, stream: TextIO) -> str:
    """The text in a colour where the stream has colour."""
    return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m" if colour and has_colour(stream) else text


def state(text: str, stream: TextIO | None = None) -> str:
    """A state's word in its colour."""
    return paint(text, _STATES.get(text.lower(), ""), stream or sys.stdout)


def table(rows: Sequence[Mapping[str, object]], columns: Mapping[str, str]) -> list[str]:
    """Aligned columns under their headings, at most `WIDTH` wide.

    ``columns`` maps a row's key to its heading. Where it is too wide, the widest
    columns are shortened, each cell ending in "…".
    """
    cells = [[_cell(row.get(key)) for key in columns] for row in rows]
    headings = list(columns.values())
    widths = [max(len(line[at]) for line in [headings, *cells]) for at in range(len(headings))]
    while sum(widths) + 2 * (len(widths) - 1) > WIDTH and max(widths) > 8:
        widths[widths.index(max(widths))] -= 1
    lines = [paint(_line(headings, widths), "bold", sys.stdout)]
    at_state = [at for at, key in enumerate(columns) if key in ("state", "phase", "status")]
    for line in cells:
        text = _line(line, widths)
        for at in at_state:
            text = text.replace(line[at], state(line[at]), 1) if has_colour(sys.stdout) else text
        lines.append(text)
    return lines


def wrapped(text: str, indent: str = "") -> list[str]:
    """Text in lines of at most `WIDTH`, each with an indent.

    Long words and what is in backticks stay whole, so that they can be copied.
    """
    import textwrap

    return [
        line.replace(_TIED, " ")
        for paragraph in text.splitlines() or [""]
        for line in textwrap.wrap(
            _LITERAL.sub(lambda found: found.group().replace(" ", _TIED), paragraph),
            WIDTH,
            initial_indent=indent,
            subsequent_indent=indent,
            break_long_words=False,
            break_on_hyphens=False,
        )
    ]


def fields(pairs: Iterable[tuple[str, str]], indent: str = "") -> list[str]:
    """Lines of ``name   value``, the values aligned; empty values are left out."""
    shown = [(name, value) for name, value in pairs if value]
    if not shown:
        return []
    width = max(len(name) for name, _ in shown) + 2
    lines = []
    for name, value in shown:
        head = f"{indent}{name:<{width}}"
        body = wrapped(value, " " * len(head))
        lines.append(head + body[0].lstrip() if body else head.rstrip())
        lines += body[1:]
    return lines


def _labelled(label: str, colour: str, text: str) -> None:
    """Prose is wrapped; an indented line (of a traceback, of a log) stays as it is."""
    for at, line in enumerate(text.splitlines()):
        whole = f"{label} {line}" if at == 0 else line
        for part in [whole] if whole[:1].isspace() or not line else wrapped(whole):
            say(part.replace(label, paint(label, colour, sys.stderr), 1) if at == 0 else part)


def _cell(value: object) -> str:
    return "-" if value is None or value == "" else " ".join(str(value).split())


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    shown = (
        cell if len(cell) <= width else f"{cell[: width - 1]}…"
        for cell, width in zip(cells, widths, strict=True)
    )
    return "  ".join(f"{cell:<{width}}" for cell, width in zip(shown, widths, strict=True)).rstrip()
