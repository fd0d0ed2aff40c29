"""What is said while a command waits.

On a terminal one line shows what is waited for, with a spinner; what changes
is kept as lines above it. Elsewhere only the lines are written.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

from callmesh.cli import output

if TYPE_CHECKING:
    import rich.progress

# Nothing is shown for what is over at once.
_PATIENCE = 0.5
_shown_now: list[Progress] = []


def reconnecting() -> None:
    """Say that the control plane is away, in the wait that is shown now if there is one."""
    (_shown_now[-1] if _shown_now else _NO_WAIT).reconnecting()


class Progress:
    """The lines of one wait. Use as a context manager."""

    def __init__(self, waiting_for: str) -> None:
        self._text = waiting_for
        self._last = ""
        self._lock = threading.Lock()
        self._timer = threading.Timer(_PATIENCE, self._show)
        self._timer.daemon = True
        self._shown: rich.progress.Progress | None = None

    def __enter__(self) -> Progress:
        _shown_now.append(self)
        if sys.stderr.isatty():
            self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        _shown_now.remove(self)
        with self._lock:
            if self._shown is not None:
                self._shown.stop()
                self._shown = None

    def waiting_for(self, text: str) -> None:
        """Change what the line shows."""
        with self._lock:
            self._text = text
            if self._shown is not None:
                self._shown.update(self._shown.task_ids[0], description=text)

    def line(self, text: str) -> None:
        """Keep a line; the same one twice in a row is written once."""
        with self._lock:
            if text == self._last:
                return
            self._last = text
            for part in output.wrapped(text):
                if self._shown is not None:
                    self._shown.console.print(part, markup=False, highlight=False)
                else:
                    output.say(part)

    def reconnecting(self) -> None:
        """Say that the control plane is away, and that the wait goes on."""
        self.line("reconnecting: the control plane is away; the mesh's calls go on")

    def _show(self) -> None:
        from rich.console import Console
        from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        with self._lock:
            if self._timer.finished.is_set():
                return
            self._shown = Progress(
                SpinnerColumn(),
                TextColumn("{task.description}", markup=False),
                TimeElapsedColumn(),
                console=Console(stderr=True, no_color=not output.has_colour(sys.stderr)),
                transient=True,
            )
            self._shown.add_task(self._text)
            self._shown.start()


_NO_WAIT = Progress("")


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
