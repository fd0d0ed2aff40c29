"""How an app's ``command`` and ``args`` become a program that is started."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

_SHELL = "/bin/sh"
_VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)\})(.*)\Z", re.DOTALL)
# What makes a line more than one simple command, which `exec` can replace the shell with.
_COMPOUND = re.compile(r"[;&|()<>\n`{}]|\A\s*(?:\w+=|(?:cd|export|set|source|ulimit|umask|\.)\s)")


def command_line(command: Sequence[str], args: Sequence[str]) -> list[str]:
    """The program of a command app and its arguments.

    ``command`` (and ``args`` behind it) is taken word by word; a word that begins
    with ``$NAME`` has that variable's value there, and a name that is not set
    ends the start with an error. ``args`` alone are one line for the shell,
    unless they name it themselves.
    """
    if command:
        words = [*command, *args]
        if not any(_VARIABLE.match(word) for word in words):
            return words
        return [_SHELL, "-c", "exec " + " ".join(map(_shell_word, words))]
    if list(args[:2]) == [_SHELL, "-c"]:
        return list(args)
    line = " ".join(args)
    return [_SHELL, "-c", line if _COMPOUND.search(line) else f"exec {line}"]


def names_port(command: Sequence[str], args: Sequence[str], port: int) -> bool:
    """Whether a port is written into the command line as a number of its own."""
    return bool(port) and str(port) in re.findall(r"\d+", " ".join([*command, *args]))


def _shell_word(word: str) -> str:
    found = _VARIABLE.match(word)
    if found is None:
        return shlex.quote(word)
    name = found[1] or found[2]
    rest = shlex.quote(found[3]) if found[3] else ""
    return f'"${{{name}?is used in the command and is not set}}"{rest}'
