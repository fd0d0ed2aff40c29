"""Types of a task that is known by its record alone."""

from __future__ import annotations

import datetime
import decimal
import enum
import pathlib
import typing
import uuid
from dataclasses import dataclass
from typing import Any

import pytest

from callmesh import _recorded
from callmesh.interface import encode_call, interface_of


class Color(enum.Enum):
    RED = "red"


@dataclass
class Path:
    """A class of the user's with the name of one of Python's."""

    x: int


KNOWN: list[Any] = [
    int,
    bytes,
    None,
    typing.Any,
    list[int],
    dict[int, datetime.datetime],
    tuple[int, ...],
    set[uuid.UUID],
    datetime.date,
    list[datetime.timedelta],
    decimal.Decimal,
    pathlib.Path,
    int | None,
    typing.Optional[list[datetime.time]],  # noqa: UP045 - as users write it
    typing.Literal["a", -3],
    typing.Union[int, str],  # noqa: UP007 - as users write it
]


def recorded(hint: Any) -> Any:
    def task(x: Any) -> Any: ...

    task.__annotations__ = {"x": hint, "return": hint}
    return _recorded.parameters_of(interface_of(task))["x"]


@pytest.mark.parametrize("hint", KNOWN, ids=str)
def test_a_type_of_pythons_own_comes_back(hint: Any) -> None:
    assert recorded(hint) == (type(None) if hint is None else hint)


@pytest.mark.parametrize("hint", [Color, list[Color], Path, dict[str, Path]], ids=str)
def test_a_class_of_the_users_is_unknown(hint: Any) -> None:
    assert recorded(hint) is None


def test_a_tuple_has_the_hints_of_its_members() -> None:
    def task() -> tuple[int, datetime.date]: ...

    assert _recorded.result_of(interface_of(task)).members == (int, datetime.date)


def test_what_json_would_change_is_sent_by_its_recorded_type() -> None:
    def task(data: bytes, bag: dict, number: int) -> None: ...  # type: ignore[type-arg]

    sent = encode_call("a.task", interface_of(task), (b"\xff", {1: 2}, 3), {})
    kinds = {name: value.WhichOneof("kind") for name, value in sent.items()}
    assert kinds == {"data": "json", "bag": "pickle", "number": "json"}
