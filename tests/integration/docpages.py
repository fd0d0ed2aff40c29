"""Pages of `docs/`: their blocks, run as a reader would, and what they say that is printed.

A fenced block is one of

- `python`, `toml`, `text` … whose first line is ``# file: NAME``: written to the
  page's folder (``# file: NAME, continued`` adds to it);
- `console`: lines after ``$ `` are run in that folder, what follows is compared;
- `python other-product`: the code of somebody else's product, not run;
- `console of a cluster`: needs Kubernetes; test_pods.py runs what it runs in pods.

Of what a command prints, all of standard output must be shown and, of standard
error, what is shown must occur in this order; lines of progress need not. Ports,
run names, times and versions may differ, ``…`` stands for anything, in a line or
for whole lines. A command that goes on until it is interrupted ends with ``^C``;
meanwhile lines after ``(another terminal) $`` are run, and their output follows.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ANYTHING = "…"
CLUSTER = "console of a cluster"
INTERRUPTED = "^C"
ELSEWHERE = "(another terminal) $ "
_FENCE = re.compile(r"^```(.*)$")
_FILE = re.compile(r"^# file: (\S+?)(, continued)?$")
_VARIES = [
    (re.compile(r"\b(localhost|127\.0\.0\.1):\d+"), r"\1:PORT"),
    (re.compile(r"\br(?:(?=[a-z]*\d)[a-z0-9]{11,15}|[0-9a-v]{13})\b"), "RUN"),
    (re.compile(r"[~/][^\s()]*/callmesh/default\b"), "STATE"),
    (re.compile(r"\bversion [0-9a-f]{12}\b"), "version VERSION"),
    (re.compile(r"\b([a-z0-9-]+-\d+)-[a-z0-9]{5}\b"), r"\1-ID"),
    (re.compile(r"\b\d+(?:\.\d+)? ?(?:ms|s|m|h|d)\b"), "TIME"),
    (re.compile(r"TIME(?: TIME)+"), "TIME"),
    (re.compile(r"\b\d\d:\d\d:\d\d\b"), "CLOCK"),
    (re.compile(r"\s+"), " "),
]
# How far something is: told when it changes, and a quick machine skips some of it.
_PROGRESS = re.compile(r"^(?:app|run) \S+: (?:pending|deploying|initializing)\b")


@dataclass(frozen=True)
class Block:
    """A fenced block: what stands after the fence, its lines, and where it is."""

    info: str
    lines: list[str]
    line: int

    @property
    def file(self) -> re.Match[str] | None:
        """The heading that names a file, where there is one."""
        return _FILE.match(self.lines[0]) if self.lines else None


@dataclass(frozen=True)
class Command:
    """One command of a console block, and what is shown of what it prints."""

    text: str
    shown: list[str]
    line: int


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page."""
    found: list[Block] = []
    inside: Block | None = None
    for number, line in enumerate(page.read_text().splitlines(), 1):
        fence = _FENCE.match(line)
        if inside is None and fence:
            inside = Block(fence.group(1).strip(), [], number)
        elif inside is not None and fence:
            found.append(inside)
            inside = None
        elif inside is not None:
            inside.lines.append(line)
    assert inside is None, f"{page}: the block of line {inside.line if inside else 0} has no end"
    return found


def commands(block: Block) -> Iterator[Command]:
    """The commands of a console block; one that ends in a backslash goes on in the next line."""
    lines = iter(enumerate(block.lines, block.line + 1))
    command: Command | None = None
    for number, line in lines:
        if line.startswith("$ "):
            if command is not None:
                yield command
            text = line[2:]
            while text.endswith("\\"):
                text = text[:-1] + next(lines)[1].strip()
            command = Command(text, [], number)
        else:
            assert command is not None, f"line {number} is no command's output"
            command.shown.append(line)
    if command is not None:
        yield command


def plain(text: str) -> str:
    """A text without what varies from run to run."""
    for pattern, replacement in _VARIES:
        text = pattern.sub(replacement, text)
    return text.strip()


def difference(shown: list[str], stdout: str, stderr: str) -> str:
    """What is shown and was not printed, or was printed and is not shown; "" for none."""
    printed = [plain(line) for line in stdout.splitlines() if line.strip()]
    said, at, skipping = plain(stderr), 0, False
    for line in filter(str.strip, shown):
        if line.strip() == ANYTHING:
            skipping = True
            continue
        if _PROGRESS.match(line):
            continue
        pattern = _pattern(plain(line))
        places = [n for n, each in enumerate(printed) if re.fullmatch(pattern, each)]
        if places and (skipping or places[0] == 0):
            printed, skipping = printed[places[0] + 1 :], False
            continue
        found = re.compile(pattern).search(said, at)
        if not found:
            return f"shown, and not printed: {line}"
        at = found.end()
    return f"printed, and not shown: {printed[0]}" if printed and not skipping else ""


def _pattern(line: str) -> str:
    return ".*?".join(re.escape(part) for part in line.split(ANYTHING))


@dataclass
class Reader:
    """Somebody who does all that a page says, in a folder of the page's own."""

    page: Path
    folder: Path
    environment: Mapping[str, str]
    # Replaced in every command: what this machine cannot have as it is written.
    replaced: Mapping[str, str] = field(default_factory=dict)
    # Where a block without a heading is written, on a page that has one such block.
    unnamed: str = ""
    waiting: dict[str, int] = field(default_factory=dict)

    def read(self) -> None:
        """Write every file, run every command, compare. Raises `AssertionError`."""
        for block in blocks(self.page):
            if block.info == "console":
                for command in commands(block):
                    self._run(command)
            elif block.info != CLUSTER and not block.info.endswith("other-product"):
                self._write(block)
        assert not self.waiting, f"{self.page.name}: never run: {self.waiting}"

    def _write(self, block: Block) -> None:
        heading = block.file
        if self.unnamed and not heading:
            (self.folder / self.unnamed).write_text("\n".join(block.lines) + "\n")
            return
        assert heading, f"{self.page.name}:{block.line}: name the file, as in `# file: hello.py`"
        path = self.folder / heading.group(1)
        path.parent.mkdir(parents=True, exist_ok=True)
        before = path.read_text() if heading.group(2) else ""
        path.write_text(before + "\n".join(block.lines[1:]).strip("\n") + "\n")
        self.waiting[heading.group(1)] = block.line

    def _run(self, command: Command) -> None:
        where = f"{self.page.name}:{command.line}: `{command.text}`"
        if INTERRUPTED in command.shown:
            self._follow(command, where)
            return
        done = subprocess.run(
            self.shell(command.text), **self._place, capture_output=True, timeout=100, check=False
        )
        printed = f"--- stdout\n{done.stdout}\n--- stderr\n{done.stderr}"
        fails = any(line.startswith(("error:", "E  ")) for line in command.shown)
        assert bool(done.returncode) == fails, f"{where} exited {done.returncode}\n{printed}"
        differs = difference(command.shown, done.stdout, done.stderr)
        assert not differs, f"{where}\n{differs}\n{printed}"
        self._seen(command.text)

    def _follow(self, command: Command, where: str) -> None:
        """Run a command until all that is shown before `^C` was printed, then interrupt it."""
        log, at = self.folder / ".terminal", 0
        log.unlink(missing_ok=True)
        with log.open("ab") as output:
            running = subprocess.Popen(
                self.shell(f"exec {command.text}"), **self._place, stdout=output, stderr=output
            )
        try:
            for line in filter(str.strip, command.shown):
                if line.startswith(ELSEWHERE):
                    with log.open("ab") as output:
                        elsewhere = self.shell(f"{line.removeprefix(ELSEWHERE)} && echo")
                        subprocess.run(
                            elsewhere, **self._place, stdout=output, stderr=output, check=True
                        )
                elif line == INTERRUPTED:
                    running.send_signal(signal.SIGINT)
                    running.wait(30)
                else:
                    at = _awaited(_pattern(plain(line)), log, at, where)
        finally:
            running.kill()
            running.wait()
        assert running.returncode in (0, 130), f"{where} exited {running.returncode}"
        self._seen(command.text)

    def shell(self, text: str) -> list[str]:
        """What runs a command of the page."""
        for written, meant in self.replaced.items():
            text = text.replace(written, meant)
        return ["bash", "-c", text]

    @property
    def _place(self) -> dict[str, Any]:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return {"cwd": self.folder, "env": {**self.environment, "PATH": path}, "text": True}

    def _seen(self, text: str) -> None:
        """Files that a command names have been run, and those that these import."""
        texts = [text]
        while texts:
            text = texts.pop()
            for name in list(self.waiting):
                is_pytest = "pytest" in text and Path(name).stem.startswith(("test_", "conftest"))
                if is_pytest or re.search(rf"\b{re.escape(Path(name).stem)}\b", text):
                    del self.waiting[name]
                    texts.append((self.folder / name).read_text())


def _awaited(pattern: str, log: Path, at: int, where: str) -> int:
    """Where in a log's plain text a line ends; waits for it."""
    deadline = time.monotonic() + 60
    while True:
        whole = log.read_text(errors="replace").rpartition("\n")[0]
        found = re.compile(pattern).search(plain(whole), at)
        if found:
            return found.end()
        assert time.monotonic() < deadline, f"{where}\nnot printed: {pattern}\n{whole}"
        time.sleep(0.05)
