"""The loop of `dev`: a save, a deploy in a process of its own, and how long it took."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from callmesh.cli import output, spans

if TYPE_CHECKING:
    from callmesh.cli.dev_logs import Followers

# Milliseconds: how often a deploy's end is looked for, how long a save may take.
_WAKE, _DEBOUNCE = 100, 60


class Loop:
    """Deploys ``words`` whenever a file of the code has another content."""

    def __init__(self, file: Path, words: Sequence[str], followers: Followers | None) -> None:
        self._file = file
        self._words = words
        self._followers = followers
        self._files = _neighbours(file.parent)
        self._contents = Contents()
        self._libraries: list[str] = []
        self._notices: list[str] = []
        self._deployed: dict[Path, str] = {}
        self._saved_at = 0.0
        self._standby = Redeploy(words, self._libraries)
        self._running: Redeploy | None = None

    def run(self) -> None:
        """Run until a KeyboardInterrupt."""
        self._deploy()
        while True:
            self._watch()

    def end(self) -> None:
        """End what was started here; what is deployed goes on."""
        for each in (self._running, self._standby):
            if each is not None:
                each.end()

    def _watch(self) -> None:
        """Watch the folders of the files until these are other folders."""
        from watchfiles import watch

        folders = {each.parent for each in self._files if each.parent.is_dir()}
        for _ in watch(
            *folders,
            recursive=False,
            rust_timeout=_WAKE,
            yield_on_timeout=True,
            debounce=_DEBOUNCE,
            step=20,
            raise_interrupt=True,
        ):
            if self._running is not None and self._running.has_ended():
                self._take_end(self._running)
                self._running = None
            if self._contents.of(self._files) != self._deployed:
                self._deploy()
            if {each.parent for each in self._files if each.parent.is_dir()} != folders:
                return

    def _deploy(self) -> None:
        """Start a deploy of what the files hold now, in place of one that is not over."""
        now = self._contents.of(self._files)
        changed = [each for each in self._files if self._deployed.get(each) != now.get(each)]
        if self._running is not None:
            self._running.end()
        self._saved_at = max((_saved(each) for each in changed), default=time.time())
        if self._deployed:
            names = ", ".join(sorted({each.name for each in changed}))
            output.say(f"\n{time.strftime('%H:%M:%S')} {names} changed")
        else:
            self._saved_at = time.time()
        self._deployed = now
        self._running, self._standby = self._standby, Redeploy(self._words, self._libraries)
        self._running.go(self._notices)

    def _take_end(self, deploy: Redeploy) -> None:
        took = time.time() - self._saved_at
        report = deploy.report()
        if deploy.code == 0:
            output.say(f"takes calls {spans.span(took)} after the save; watching, Ctrl-C leaves")
        else:
            output.say("watching for the next save; what was deployed before goes on")
        if report is None:
            return
        found = {Path(each) for each in report["files"]}
        if deploy.code != 0:
            # What it would import, had it come so far, may be beside it.
            found |= self._files | _neighbours(self._file.parent)
        known = self._contents.of(self._files & found)
        added = self._contents.of(found - self._files)
        self._files = found
        self._deployed = {
            **{path: digest for path, digest in self._deployed.items() if path in known},
            **added,
        }
        self._notices = report["notices"]
        if set(report["libraries"]) != set(self._libraries):
            self._libraries = report["libraries"]
            self._standby.end()
            self._standby = Redeploy(self._words, self._libraries)
        if self._followers is not None:
            self._followers.follow(report["apps"])


class Redeploy:
    """A process that deploys once it is told to."""

    def __init__(self, words: Sequence[str], libraries: Sequence[str]) -> None:
        go, self._go = os.pipe()
        # A file, for a pipe holds 64 KiB: nobody reads before the end.
        self._report = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `end`
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-P", "-m", "callmesh.cli.redeploy"),
                *(str(go), str(self._report.fileno()), ",".join(libraries)),
                *words,
            ],
            stdin=subprocess.DEVNULL,
            pass_fds=(go, self._report.fileno()),
            process_group=0,
        )
        os.close(go)

    @property
    def code(self) -> int | None:
        """Its exit code, once it has ended."""
        return self._process.returncode

    def go(self, notices: Sequence[str]) -> None:
        """Deploy now; these notices have been said."""
        with contextlib.suppress(BrokenPipeError), os.fdopen(os.dup(self._go), "w") as pipe:
            pipe.write(json.dumps(notices))
        self._close_go()

    def has_ended(self) -> bool:
        """It is over."""
        return self._process.poll() is not None

    def report(self) -> dict[str, list[str]] | None:
        """What it said at its end; None where it was ended before that."""
        self._report.seek(0)
        text = self._report.read()
        self.end()
        return json.loads(text) if text else None

    def end(self) -> None:
        """End it. What it has recorded in the mesh is recorded whole, or not at all."""
        if self._report.closed:
            return
        self._close_go()
        self._report.close()
        self._process.kill()
        self._process.wait()

    def _close_go(self) -> None:
        if self._go >= 0:
            os.close(self._go)
            self._go = -1


def _neighbours(folder: Path) -> set[Path]:
    return {each for each in folder.iterdir() if each.suffix == ".py" and each.is_file()}


class Contents:
    """What is in files. It is asked at every look, so only what was written is read again."""

    def __init__(self) -> None:
        self._known: dict[Path, tuple[tuple[int, int, int], str]] = {}

    def of(self, files: Iterable[Path]) -> dict[Path, str]:
        """The digest of each file; one that is not there is left out."""
        found = {}
        for each in files:
            with contextlib.suppress(OSError):
                found[each] = self._digest(each)
        return found

    def _digest(self, file: Path) -> str:
        told = file.stat()
        state = (told.st_mtime_ns, told.st_size, told.st_ino)
        before = self._known.get(file)
        # A file system's clock is coarse: what was written a moment ago is read anew.
        if before is not None and before[0] == state and _is_settled(told.st_mtime):
            return before[1]
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        self._known[file] = state, digest
        return digest


def _is_settled(written: float) -> bool:
    return not -1.0 < time.time() - written < 1.0


def _saved(file: Path) -> float:
    try:
        return file.stat().st_mtime
    except OSError:
        return time.time()
