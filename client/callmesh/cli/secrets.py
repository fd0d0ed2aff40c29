"""Secrets: made from standard input or a prompt, never shown again."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from callmesh.cli import output
from callmesh_wire import names


def read_value(value: str | None, file: Path | None) -> bytes:
    """A secret's value: as given, a file's bytes, a prompt's line, or standard input.

    One newline at the end of standard input is not part of it.
    """
    if value is not None and file is not None:
        output.stop("`--value` and `--from-file` exclude each other", code=output.USAGE)
    if value is not None:
        return value.encode()
    if file is not None:
        try:
            return file.read_bytes()
        except OSError as problem:
            output.stop(f"`{file}` cannot be read: {problem.strerror}", code=output.USAGE)
    if sys.stdin.isatty():
        typed = click.prompt("value (not shown)", hide_input=True, err=True)
        return str(typed).encode()
    return sys.stdin.buffer.read().removesuffix(b"\n").removesuffix(b"\r")


def check_name(name: str) -> str:
    """The name, if a secret may be called so; ends the command otherwise."""
    try:
        return names.check_secret(name)
    except names.NameProblem as problem:
        output.stop(str(problem), code=output.USAGE)
