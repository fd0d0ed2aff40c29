"""`docs/SURFACE.md`: what it says works is there, what it says is not yet there says so."""

from __future__ import annotations

import importlib
import inspect
import re
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import callmesh
from callmesh.cli.main import COMMANDS

PAGE = Path(__file__).resolve().parents[3] / "docs" / "SURFACE.md"
STATES = ("works", "differs", "not yet")


@dataclass(frozen=True)
class Name:
    """A name of the page's first column: `a.b`, `a.b(option=)` or `callmesh verb`."""

    text: str
    state: str

    @property
    def option(self) -> str:
        found = re.search(r"\((\w+)=\)$", self.text)
        return found.group(1) if found else ""

    def value(self) -> Any:
        """What it names. Raises `AttributeError` or `ImportError`."""
        found: Any = callmesh
        for part in self.text.partition("(")[0].split("."):
            if part in getattr(found, "__dataclass_fields__", ()):
                return found.__dataclass_fields__[part]
            try:
                found = getattr(found, part)
            except AttributeError:
                if not inspect.ismodule(found):
                    raise
                found = importlib.import_module(f"{found.__name__}.{part}")
        return found


def rows() -> list[list[str]]:
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


TABLE = [row for row in rows() if row[0] != "name"]
# A first column of words describes a behaviour, which other tests see.
LISTED = re.compile(r"`[^`]+`(?:, `[^`]+`)*")
NAMES = [
    Name(text, row[1])
    for row in TABLE
    if LISTED.fullmatch(row[0])
    for text in re.findall(r"`([^`]+)`", row[0])
]
PRESENT = [name for name in NAMES if name.state != "not yet"]
MISSING = [name for name in NAMES if name.state == "not yet"]


def test_every_row_has_a_state_and_what_differs_is_said() -> None:
    assert {row[1] for row in TABLE} <= set(STATES)
    assert not [row[0] for row in TABLE if row[1] == "differs" and not row[2]]


def test_every_name_is_there_once() -> None:
    texts = [name.text for name in NAMES]
    assert sorted(texts) == sorted(set(texts))


def test_every_public_name_of_ours_has_a_row() -> None:
    pages = "\n".join(row[0] for row in rows())
    ours = {"Deployment", "Progress", "Run", "Task", "AppHandle"}
    missing = [n for n in callmesh.__all__ if n not in ours and not re.search(rf"\b{n}\b", pages)]
    assert not missing


@pytest.mark.parametrize("name", PRESENT, ids=lambda name: name.text)
def test_what_works_is_there(name: Name) -> None:
    if name.text.startswith("callmesh "):
        assert name.text.removeprefix("callmesh ") in COMMANDS
        return
    if not name.option:
        assert name.value() is not NotImplemented
        return
    described = typing.get_overloads(name.value())[-1:] or [name.value()]
    assert name.option in inspect.signature(described[0]).parameters


@pytest.mark.parametrize("name", MISSING, ids=lambda name: name.text)
def test_what_is_not_there_says_so(name: Name, caplog: pytest.LogCaptureFixture) -> None:
    if name.text.startswith("callmesh "):
        assert name.text.removeprefix("callmesh ") not in COMMANDS
    elif not name.option:
        with pytest.raises((ImportError, AttributeError)) as refused:
            name.value()
        assert name.text.rsplit(".", 1)[-1] in str(refused.value)
    elif name.text.startswith("with_"):
        name.value()(**{name.option: "something"})
        assert f"`{name.option}`" in caplog.text
    elif name.text.startswith("TaskEnvironment.task("):
        from callmesh.task import options_from

        assert name.option in options_from({name.option: True}).unused.names()
    else:
        env = name.value()("surface-check", **{name.option: "something"})
        assert name.option in env.unused.names()
