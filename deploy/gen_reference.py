"""Generate `docs/reference/` from the code (`make docs`).

One page for each public module and for each command of the CLI: signatures,
defaults, docstrings and the parser's own help. Nothing on these pages is
written by hand; `--check` proves that the committed ones are current.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import apidoc
import click

import callmesh
from callmesh.cli import main as program

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "docs" / "reference"
MODULES = [
    "callmesh",
    "callmesh.app",
    "callmesh.app.extras",
    *(f"callmesh.{name}" for name in callmesh._MODULES if name != "app"),
    "callmesh.testing",
]
MADE = "<!-- Made by `make docs` from the code: do not edit. -->\n\n"


def module_page(name: str) -> str:
    """The page of a module: its docstring, then its names in the order of ``__all__``."""
    module = importlib.import_module(name)
    names = list(getattr(module, "__all__", ()))
    told = apidoc.text(module.__doc__)
    lines = [f"# `{name}`", ""]
    if name == "callmesh.errors":
        lines += [told[0], "", *apidoc.error_tree(module)]
    else:
        lines += [*told, ""]
    for each in names:
        lines += apidoc.section(module, each)
    return MADE + "\n".join(lines).strip("\n") + "\n"


def command_page(line: str) -> str:
    """The page of a command: its help, and that of the commands below it."""
    lines = [f"# `callmesh {line}`", "", *help_of(line)]
    command = program.cli.get_command(click.Context(program.cli), line)
    if isinstance(command, click.Group):
        for name in command.list_commands(click.Context(command)):
            lines += ["", f"## `callmesh {line} {name}`", "", *help_of(f"{line} {name}")]
    return MADE + "\n".join(lines) + "\n"


def help_of(line: str) -> list[str]:
    """What `--help` prints on a terminal of 80 columns, fenced."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        assert program.run([*line.split(), "--help"]) == 0, line
    return ["```text", *printed.getvalue().rstrip().splitlines(), "```"]


def index() -> str:
    """The list of all pages."""
    lines = ["# Reference", "", "| module | |", "|---|---|"]
    for name in MODULES:
        first = apidoc.text(importlib.import_module(name).__doc__)[0]
        lines.append(f"| [`{name}`]({name}.md) | {first} |")
    lines += ["", "| command | |", "|---|---|"]
    for name, entry in program.COMMANDS.items():
        lines.append(f"| [`callmesh {name}`](commands/{name}.md) | {entry.summary} |")
    lines += ["", "## `callmesh`", "", *help_of("")]
    return MADE + "\n".join(lines) + "\n"


def pages() -> Iterator[tuple[str, str]]:
    """Every page: its path below `docs/reference`, and its text."""
    yield "README.md", index()
    for name in MODULES:
        yield f"{name}.md", module_page(name)
    for name in program.COMMANDS:
        yield f"commands/{name}.md", command_page(name)


def main() -> int:
    os.environ.update(COLUMNS="80", NO_COLOR="1")
    fresh = dict(pages())
    there = {str(p.relative_to(TARGET)): p.read_text() for p in TARGET.rglob("*.md")}
    stale = sorted(name for name in fresh | there if fresh.get(name) != there.get(name))
    if "--check" in sys.argv[1:]:
        for name in stale:
            sys.stderr.write(f"docs/reference/{name} is not current: run `make docs`, commit it\n")
        return 1 if stale else 0
    for name in stale:
        path = TARGET / name
        if name not in fresh:
            path.unlink()
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(fresh[name])
    return 0


if __name__ == "__main__":
    sys.exit(main())
