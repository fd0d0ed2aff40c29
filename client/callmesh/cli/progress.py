"""What is said while a command waits.

On a terminal one line shows what is waited for, with a spinner; what changes
is kept as lines above it. Elsewhere only the lines are written.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Iterator

from callmesh.cli import output

_FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_PERIOD = 0.1
# Nothing is shown for what is over at once.
_PATIENCE = 0.5


class Progress:
    """The lines of one wait. Use as a context manager."""

    def __init__(self, waiting_for: str) -> None:
        self._text = waiting_for
        self._last = ""
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._is_shown = False
        self._thread: threading.Thread | None = None
        self._since = time.monotonic()

    def __enter__(self) -> Progress:
        if sys.stderr.isatty():
            self._thread = threading.Thread(target=self._spin, name="callmesh-spinner", daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
        with self._lock:
            self._clear()

    def waiting_for(self, text: str) -> None:
        """Change what the line shows."""
        with self._lock:
            self._text = text

    def line(self, text: str) -> None:
        """Keep a line; the same one twice in a row is written once."""
        with self._lock:
            if text == self._last:
                return
            self._last = text
            self._clear()
            for part in output.wrapped(text):
                output.say(part)

    def reconnecting(self) -> None:
        """Say that the control plane is away, and that the wait goes on."""
        self.line("reconnecting: the control plane is away; the mesh's calls go on")

    def _spin(self) -> None:
        if self._ended.wait(_PATIENCE):
            return
        frame = 0
        while not self._ended.wait(_PERIOD):
            frame += 1
            with self._lock:
                passed = time.monotonic() - self._since
                text = f"{_FRAMES[frame % len(_FRAMES)]} {self._text} ({passed:.0f} s)"
                sys.stderr.write(f"\r\x1b[K{text[: output.WIDTH - 1]}")
                sys.stderr.flush()
                self._is_shown = True

    def _clear(self) -> None:
        if self._is_shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
            self._is_shown = False


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, with the sentence that says what goes on without the command."""


@contextlib.contextmanager
def goes_on(sentence: str) -> Iterator[None]:
    """What a person who presses Ctrl-C inside the block is told. The innermost block speaks."""
    try:
        yield
    except Interrupted:
        raise
    except KeyboardInterrupt:
        raise Interrupted(sentence) from None
