"""`callmesh doctor`: looks at this machine and this mesh, and says what is wrong."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict

from callmesh.cli import output
from callmesh_up import examine
from callmesh_up.findings import Finding, findings
from callmesh_up.layout import Layout

_COLOURS = {"ok": "green", "note": "blue", "warning": "yellow", "problem": "red"}


def run(layout: Layout, *, as_json: bool) -> int:
    """Print every finding. 1 where one is a problem."""
    found = findings(examine.facts(layout, os.environ))
    problems = sum(each.level == "problem" for each in found)
    if as_json:
        output.show_json({"ok": not problems, "findings": [asdict(each) for each in found]})
    else:
        for each in found:
            for line in _lines(each):
                output.data(line)
        warnings = sum(each.level == "warning" for each in found)
        output.say(f"{_count(problems, 'problem')}, {_count(warnings, 'warning')}")
    sys.stdout.flush()
    return output.FAILED if problems else output.DONE


def _lines(found: Finding) -> list[str]:
    head = f"{found.level:<8} {found.check:<9}  "
    remedy = f": {found.remedy}" if found.remedy else ""
    first, *others = output.wrapped(f"{found.message}{remedy}", " " * len(head))
    level = output.paint(f"{found.level:<8}", _COLOURS[found.level], sys.stdout)
    return [f"{level}{head[8:]}{first.lstrip()}", *others]


def _count(amount: int, word: str) -> str:
    return f"{amount or 'no'} {word}{'' if amount == 1 else 's'}"
