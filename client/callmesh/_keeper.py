"""The process that keeps one locally served app, and leaves nothing of it behind.

It starts the app's program and waits for the end of it, of the script that
serves the app (whose end of the control socket closes, however the script
ended), or of itself (TERM). Then the program gets TERM, and KILL after a grace;
what the program had started itself is ended too. It stays in the terminal's
foreground group, so that a `breakpoint()` in the app has the keyboard.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER
_ORPHANS_GRACE = 1.0
_NO_SUCH_PROGRAM = 127


def main(arguments: list[str]) -> int:
    """``SCRIPT_PID CONTROL_FD GRACE PROGRAM…``: run the program; its exit code as of a shell."""
    # Told, not asked for: the script may have been killed before this line.
    script, control = int(arguments[0]), socket.socket(fileno=int(arguments[1]))
    grace, program = float(arguments[2]), arguments[3:]
    control.set_inheritable(False)
    _adopt_orphans()
    woken = _Woken()
    try:
        process = subprocess.Popen(program, close_fds=False)
    except OSError as problem:
        sys.stderr.write(f"error: `{program[0]}` cannot be started: {problem.strerror}\n")
        return _NO_SUCH_PROGRAM
    if _must_be_told(process, control, woken):
        process.terminate()
        try:
            process.wait(grace)
        except subprocess.TimeoutExpired:
            process.kill()
    code = process.wait()
    _end_orphans()
    if os.getppid() != script:
        # Killed, it could not delete its folder itself.
        shutil.rmtree(Path(os.environ["CALLMESH_LOCAL_ENDPOINTS"]).parent, ignore_errors=True)
    return code if code >= 0 else 128 - code


class _Woken:
    """A socket that becomes readable with every signal; ``told`` after TERM."""

    def __init__(self) -> None:
        self.told = False
        self.reader, self._writer = socket.socketpair()
        self._writer.settimeout(0)
        signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, self._hear)
        # A handler, unlike SIG_IGN, is not handed down: the program meets Ctrl-C as ever.
        for number in (signal.SIGCHLD, signal.SIGINT):
            signal.signal(number, lambda *_: None)

    def _hear(self, *_: object) -> None:
        self.told = True


def _must_be_told(process: subprocess.Popen[bytes], control: socket.socket, woken: _Woken) -> bool:
    """Wait for an end; False where it is the program's own."""
    while process.poll() is None:
        if woken.told:
            return True
        ready, _, _ = select.select([control, woken.reader], [], [])
        if control in ready:
            return True
        woken.reader.recv(4096)
    return False


def _adopt_orphans() -> None:
    """Have the program's own children become this process's when it ends (Linux)."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None, use_errno=True).prctl(_SUBREAPER, 1, 0, 0, 0)


def _end_orphans() -> None:
    """End what the program left running: TERM, and KILL for what does not hear it."""
    deadline = time.monotonic() + _ORPHANS_GRACE
    asked: set[int] = set()
    while children := _children():
        number = signal.SIGTERM if time.monotonic() < deadline else signal.SIGKILL
        for pid in children:
            if pid not in asked or number == signal.SIGKILL:
                asked.add(pid)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
        _reap()
        time.sleep(0.01)


def _children() -> list[int]:
    try:
        tasks = list(Path("/proc/self/task").iterdir())
        return [int(pid) for each in tasks for pid in (each / "children").read_text().split()]
    except OSError:
        return []


def _reap() -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            continue


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
