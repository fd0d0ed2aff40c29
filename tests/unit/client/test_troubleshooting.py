"""The texts that `docs/troubleshooting.md` explains are texts that the code has."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PAGE = ROOT / "docs" / "troubleshooting.md"
ROOMS = ("client", "server", "agent", "protos/callmesh_wire")
HEADINGS = re.findall(r"^### (.+)$", PAGE.read_text(), re.MULTILINE)
ANYTHING = "…"


@functools.cache
def texts() -> str:
    """Every string of the code, one a line, with `…` for what is filled in."""
    found: list[str] = []
    for room in ROOMS:
        for path in (ROOT / room).rglob("*.py"):
            if "_pb2" not in path.name:
                found += _strings(ast.parse(path.read_text()))
    return "\n".join(" ".join(each.split()) for each in found)


def _strings(tree: ast.AST) -> list[str]:
    found: list[str] = []
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if id(node) in docstrings:
            continue
        if isinstance(node, ast.JoinedStr):
            parts = (str(p.value) if isinstance(p, ast.Constant) else ANYTHING for p in node.values)
            found.append("".join(parts))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.append(node.value)
    return found


@pytest.mark.parametrize("heading", HEADINGS)
def test_what_is_quoted_is_said_somewhere(heading: str) -> None:
    parts = [re.escape(part) for part in heading.split(ANYTHING)]
    found = re.search("[^\n]*?".join(parts), texts())
    assert found is not None, "no error of ours reads like this"


def test_every_text_is_quoted_once_and_explained() -> None:
    assert len(HEADINGS) == len(set(HEADINGS))
    for section in re.split(r"^### ", PAGE.read_text(), flags=re.MULTILINE)[1:]:
        heading, _, body = section.partition("\n")
        is_one_of_several = not body.strip()
        assert is_one_of_several or ("- **Why**: " in body and "- **Do**: " in body), heading
