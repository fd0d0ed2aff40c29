"""A task per type that values may have: each gives its argument back, changed or not."""

from __future__ import annotations

import datetime
import decimal
import enum
import pathlib
import typing
import uuid
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import pydantic

import callmesh as flyte
from callmesh.remote import Task

env = flyte.TaskEnvironment(name="kinds")


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


@dataclass
class Point:
    x: int
    y: float = 0.5


@dataclass
class Route:
    name: str
    points: list[Point]
    by_name: dict[str, Point] = field(default_factory=dict)
    when: datetime.datetime | None = None
    color: Color = Color.RED


class Inner(pydantic.BaseModel):
    n: int
    tags: list[str] = []


class Model(pydantic.BaseModel):
    inner: Inner
    when: datetime.datetime
    point: Point
    color: Color


class Movie(typing.TypedDict):
    title: str
    year: typing.NotRequired[int]


class Pair(typing.NamedTuple):
    left: int
    right: str


class Plain:
    """A class that only pickle knows."""

    def __init__(self, value: int) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Plain) and other.value == self.value

    def __hash__(self) -> int:
        return hash(self.value)


@dataclass
class Holder:
    """A dataclass with what has no JSON form."""

    plain: Plain
    array: np.ndarray
    n: int = 0


KINDS: dict[str, tuple[typing.Any, list[typing.Any]]] = {
    "int": (int, [0, -5, 2**70]),
    "float": (float, [1.5, float("inf")]),
    "str": (str, ["", "ünïcode", "a" * 1000]),
    "bool": (bool, [True]),
    "bytes": (bytes, [b"", b"\x00\xff\xfe"]),
    "none": (type(None), [None]),
    "list": (list, [[1, "a", None]]),
    "list_int": (list[int], [[], [1, 2]]),
    "list_point": (list[Point], [[Point(1), Point(2, 1.5)]]),
    "dict": (dict, [{"a": 1, "b": [1, {"c": None}]}, {1: 2}]),
    "dict_str": (dict[str, float], [{"a": 1.0}]),
    "dict_int": (dict[int, str], [{1: "a", 2: "b"}]),
    "dict_list": (dict[str, list[Point | None]], [{"a": [Point(1), None]}]),
    "tuple_bare": (tuple, [(1, "a")]),
    "tuple_many": (tuple[int, ...], [(1, 2, 3)]),
    "set": (set[int], [{1, 2}]),
    "set_bare": (set, [{1, "a"}]),
    "frozenset": (frozenset[str], [frozenset({"a"})]),
    "optional": (typing.Optional[int], [None, 3]),  # noqa: UP045 - as users write it
    "union": (int | str, [3, "3"]),
    "union_models": (Point | Inner, [Point(1), Inner(n=2)]),
    "literal": (typing.Literal["a", "b", 3], ["a", 3]),
    "enum": (Color, [Color.BLUE]),
    "int_enum": (Level, [Level.HIGH]),
    "list_enum": (list[Color], [[Color.RED, Color.BLUE]]),
    "datetime": (
        datetime.datetime,
        [
            datetime.datetime(2026, 1, 2, 3, 4, 5, 678901),
            datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC),
        ],
    ),
    "date": (datetime.date, [datetime.date(2026, 1, 2)]),
    "time": (datetime.time, [datetime.time(1, 2, 3)]),
    "timedelta": (datetime.timedelta, [datetime.timedelta(days=-1, microseconds=5)]),
    "model": (
        Model,
        [
            Model(
                inner=Inner(n=1, tags=["x"]),
                when=datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC),
                point=Point(3),
                color=Color.BLUE,
            )
        ],
    ),
    "dataclass": (
        Route,
        [
            Route(
                "p",
                [Point(1), Point(2)],
                {"a": Point(3)},
                datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC),
                Color.BLUE,
            )
        ],
    ),
    "typed_dict": (Movie, [{"title": "Alien"}, {"title": "Alien", "year": 1979}]),
    "named_tuple": (Pair, [Pair(1, "a")]),
    "pair": (tuple[int, str], [(1, "a")]),
    "decimal": (decimal.Decimal, [decimal.Decimal("1.10")]),
    "uuid": (uuid.UUID, [uuid.UUID(int=7)]),
    "path": (pathlib.Path, [pathlib.Path("/a/b")]),
    "array": (np.ndarray, [np.arange(6, dtype=np.float32).reshape(2, 3)]),
    "frame": (pd.DataFrame, [pd.DataFrame({"a": [1, 2], "b": ["x", None]})]),
    "list_array": (list[np.ndarray], [[np.zeros(2), np.ones(3)]]),
    "plain": (Plain, [Plain(7)]),
    "list_plain": (list[Plain], [[Plain(7), Plain(8)]]),
    "dict_plain": (dict[str, Plain], [{"a": Plain(7)}]),
    "optional_plain": (Plain | None, [None, Plain(1)]),
    "holder": (Holder, [Holder(Plain(1), np.arange(3))]),
    "complex": (complex, [1 + 2j]),
    "any": (
        typing.Any,
        [1, "a", [1, (2, 3)], np.arange(3), None, b"x", datetime.datetime(2026, 1, 2), {1, 2}],
    ),
    "any_class": (typing.Any, [{"a": Plain(1)}, Point(1), Color.RED]),
    "range": (range, [range(3)]),
    "callable": (typing.Callable[[int], int], [abs]),
}
# Classes of the user's: whoever has not their code gets them as their JSON.
BY_SCHEMA = {
    "any_class", "dataclass", "dict_list", "enum", "int_enum", "list_enum", "list_point", "model",
    "named_tuple", "union_models",
}  # fmt: skip
# What is no data: it is opened by tasks alone.
ONLY_PICKLED = {"callable", "dict_plain", "holder", "list_plain", "optional_plain", "plain"}


def _declare(name: str, hint: typing.Any) -> None:
    async def back(value):  # type: ignore[no-untyped-def]
        return value

    back.__name__ = back.__qualname__ = f"back_{name}"
    back.__annotations__ = {"value": hint, "return": hint}
    globals()[back.__name__] = env.task(back)


for _name, (_hint, _) in KINDS.items():
    _declare(_name, _hint)


@env.task
async def through(name: str) -> list[str]:
    """Each value of a kind through a child run; what came back changed."""
    return [
        f"{value!r} became {got!r}"
        for value in KINDS[name][1]
        if not same(got := await globals()[f"back_{name}"](value), value)
    ]


@env.task
async def through_by_name(name: str) -> list[str]:
    """The same, by the task's name."""
    return [
        f"{value!r} became {got!r}"
        for value in KINDS[name][1]
        if not same(got := await Task.get(f"kinds.back_{name}")(value=value), value)
    ]


def same(one: typing.Any, other: typing.Any) -> bool:
    """Equal, and of the same type, all the way down."""
    if type(one) is not type(other):
        return False
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and np.array_equal(one, other)
    if isinstance(one, pd.DataFrame):
        return one.equals(other)
    if isinstance(one, Holder):
        return one.plain == other.plain and same(one.array, other.array) and one.n == other.n
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return bool(one == other)
