"""`uv` as a program: where it is, and what it says when it fails."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

_BOX = re.compile(r"^[\s│╰├─▶×]+|^\s*(?:error|cause|Caused by):\s*")
_MAX_REASON = 1500


def find() -> str | None:
    """Its path: beside this interpreter, or the one on PATH; None where there is none."""
    beside = Path(sys.executable).with_name("uv")
    return str(beside) if beside.is_file() else shutil.which("uv")


def reason(output: str) -> str:
    """What went wrong, in one line, from what it wrote to standard error."""
    lines = output.strip().splitlines()
    start = next(
        (i for i, line in enumerate(lines) if line.lstrip().startswith(("error:", "×", "Caused"))),
        max(0, len(lines) - 3),
    )
    told: list[str] = []
    for line in lines[start:]:
        text = line
        while (shorter := _BOX.sub("", text)) != text:
            text = shorter
        if text and (not told or told[-1] != text):
            told.append(text.strip())
    if len(told) > 1 and told[0].startswith("No solution found"):
        del told[0]  # what follows says it too, and why
    said = " ".join(told) or "it gave no reason"
    # A user and password in an address are for nobody else to read.
    said = re.sub(r"://[^/\s@]+@", "://", said).rstrip(".")
    return said if len(said) <= _MAX_REASON else f"{said[:_MAX_REASON]}…"
