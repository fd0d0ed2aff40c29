"""What the demo writes: plain lines, 80 columns, no colour.

On a terminal, whatever takes longer than half a second shows a line that
counts the time and is wiped when it is over; elsewhere such a line is written
once, and again every five seconds.
"""

from __future__ import annotations

import re
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

WIDTH = 80
PATIENCE = 0.5
_TICK = 0.1
_SLOW_TICK = 5.0


class Wait:
    """Something that is under way. ``note`` may be changed by whoever does it."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.note = ""
        self.began = time.monotonic()

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.monotonic() - self.began

    def line(self) -> str:
        """One line of at most `WIDTH` columns."""
        note = f": {self.note}" if self.note else ""
        return cut(f"  … {self.seconds:4.1f} s  {self.what}{note}", WIDTH - 1)


class Screen:
    """Standard output."""

    def __init__(self, *, live: bool) -> None:
        """``live``: a terminal, where a line can be wiped."""
        self._live = live
        self._lock = threading.Lock()
        self._shown = False

    def say(self, text: str = "") -> None:
        """Write whole lines."""
        with self._lock:
            self._wipe()
            sys.stdout.write(f"{text}\n")
            sys.stdout.flush()

    @contextmanager
    def waiting(self, what: str) -> Iterator[Wait]:
        """Show that ``what`` is under way, once it takes longer than `PATIENCE`."""
        wait, over = Wait(what), threading.Event()
        watcher = threading.Thread(target=self._watch, args=(wait, over), daemon=True)
        watcher.start()
        try:
            yield wait
        finally:
            over.set()
            watcher.join()

    def _watch(self, wait: Wait, over: threading.Event) -> None:
        pause = PATIENCE
        while not over.wait(pause):
            if self._live:
                with self._lock:
                    sys.stdout.write(f"\r\x1b[K{wait.line()}")
                    sys.stdout.flush()
                    self._shown = True
            else:
                self.say(wait.line())
            pause = _TICK if self._live else _SLOW_TICK
        with self._lock:
            self._wipe()

    def _wipe(self) -> None:
        if self._shown:
            sys.stdout.write("\r\x1b[K")
            sys.stdout.flush()
            self._shown = False


def table(head: Sequence[str], rows: Sequence[Sequence[str]], widths: Sequence[int]) -> str:
    """Rows under a head; the last column is right-aligned, the others are cut to fit."""
    lines = [_row(head, widths), _row(["-" * width for width in widths], widths)]
    return "\n".join([*lines, *(_row(row, widths) for row in rows)])


def cut(text: str, width: int) -> str:
    """One line of at most ``width`` characters."""
    text = re.sub(r"\s*\n\s*", " ", text.rstrip())
    return text if len(text) <= width else f"{text[: width - 1]}…"


def seconds(amount: float) -> str:
    """A duration as the demo prints it."""
    return f"{amount * 1000:.0f} ms" if amount < 1 else f"{amount:.1f} s"


def _row(cells: Sequence[str], widths: Sequence[int]) -> str:
    *left, last = (cut(cell, width) for cell, width in zip(cells, widths, strict=True))
    texts = [cell.ljust(width) for cell, width in zip(left, widths, strict=False)]
    return "  ".join([*texts, last.rjust(widths[-1])])
