"""Programs of a user's that know of no mesh, in a terminal where they need one."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

PROJECTS = Path(__file__).parent / "projects"
CALLMESH = Path(sys.executable).with_name("callmesh")


def environment(tmp_path: Path, **variables: str) -> dict[str, str]:
    """No mesh is to be found."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("CALLMESH_")}
    return inherited | {
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "HOME": str(tmp_path),
        "PYTHONPATH": str(PROJECTS),
        "NO_COLOR": "1",
        "COLUMNS": "80",
        **variables,
    }


def run(
    tmp_path: Path, *words: str | Path, timeout: float = 60, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end."""
    return subprocess.run(
        [str(each) for each in words],
        env=environment(tmp_path, **variables),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def script(tmp_path: Path, text: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a script that has `here` imported."""
    file = tmp_path / "script.py"
    file.write_text(f"import callmesh as flyte\nimport here\nfrom here import _get\n{text}")
    return run(tmp_path, sys.executable, file, **variables)


class Terminal:
    """A program in a terminal of its own."""

    def __init__(self, tmp_path: Path, *words: str | Path, **variables: str) -> None:
        self.text = ""
        self.seen = ""
        self.is_running = True
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            os.chdir(tmp_path)
            os.execve(
                str(words[0]), [str(each) for each in words], environment(tmp_path, **variables)
            )

    def until(self, wanted: str, seconds: float = 60) -> str:
        """Read until the program has written something; all that it wrote."""
        deadline = time.monotonic() + seconds
        while wanted not in self.text:
            assert time.monotonic() < deadline, f"not within {seconds} s: {wanted}\n{self.text}"
            if not self._read():
                raise AssertionError(f"it ended without {wanted!r}:\n{self.text}")
        return self.text

    def forget(self) -> None:
        """What was written until now is not looked at any more; it is kept in `seen`."""
        self.seen += self.text
        self.text = ""

    def type(self, text: str) -> None:
        """Type something."""
        os.write(self._fd, text.encode())

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        self.type("\x03")

    def end(self, seconds: float = 30) -> int:
        """Read to the end; the exit code."""
        deadline = time.monotonic() + seconds
        while self._read():
            if time.monotonic() > deadline:
                os.kill(self.pid, signal.SIGKILL)
                raise AssertionError(f"it has not ended within {seconds} s:\n{self.text}")
        _, status = os.waitpid(self.pid, 0)
        os.close(self._fd)
        self.is_running = False
        return os.waitstatus_to_exitcode(status)

    def kill(self) -> None:
        """End it, whatever it does."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self._fd)
        self.is_running = False

    def _read(self) -> bool:
        ready, _, _ = select.select([self._fd], [], [], 0.5)
        if not ready:
            return True
        try:
            data = os.read(self._fd, 65536)
        except OSError:
            return False
        self.text += data.decode(errors="replace")
        return bool(data)


def left(tmp_path: Path) -> list[str]:
    """Processes that were started with this folder as their home and live."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.status() != psutil.STATUS_ZOMBIE and process.environ().get("HOME") == str(
                tmp_path
            ):
                found.append(" ".join(process.cmdline()))
        except psutil.Error:
            continue
    return found
