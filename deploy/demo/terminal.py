"""Whose Ctrl-C it is."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def alone_in_front(*, terminal: bool) -> Iterator[None]:
    """Have Ctrl-C reach this process and not `make`, which started it.

    `make` would report the interrupt as an error, though the demo ends well.
    """
    before = os.getpgrp()
    if not terminal or before == os.getpid() or os.tcgetpgrp(sys.stdin.fileno()) != before:
        yield
        return
    # Whoever is not in front and takes the terminal is stopped by TTOU; and
    # nobody would wake a demo that TSTP stopped, as the shell knows only `make`.
    for each in (signal.SIGTTOU, signal.SIGTSTP):
        signal.signal(each, signal.SIG_IGN)
    os.setpgid(0, 0)
    os.tcsetpgrp(sys.stdin.fileno(), os.getpgrp())
    try:
        yield
    finally:
        os.tcsetpgrp(sys.stdin.fileno(), before)
