"""A task's arguments on the command line."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable
from typing import Any

import pytest

from callmesh.cli import arguments
from callmesh.cli.output import Stop
from callmesh.interface import interface_of
from callmeshpb.v1 import scheduler_pb2


class Shade(enum.Enum):
    LIGHT = "light"
    DARK = "dark"


@dataclasses.dataclass
class Point:
    x: int
    y: int = 0


def task(
    count: int,
    app_url: str = "",
    ratio: float = 1.0,
    tags: list[str] | None = None,
    *,
    loud: bool = False,
    shade: Shade = Shade.LIGHT,
    point: Point | None = None,
    either: int | str = 0,
) -> dict[str, int]:
    """Count things.

    As often as it is told to.

    Args:
        count: How often,
            in all.
        loud (bool): Say it aloud.

    Returns:
        What was counted.
    """
    return {}


def parse(*tokens: str, function: Callable[..., object] = task) -> dict[str, Any]:
    return arguments.parse(interface_of(function), tokens, "callmesh run f.py task")


def mistakes(*tokens: str) -> str:
    with pytest.raises(Stop) as stopped:
        parse(*tokens)
    assert stopped.value.code == 2
    assert stopped.value.hint == "see `callmesh run f.py task --help`"
    return stopped.value.message


def test_underscores_and_dashes_and_equals_are_the_same() -> None:
    for spelled in (("--app_url", "u"), ("--app-url", "u"), ("--app-url=u",)):
        assert parse("--count", "1", *spelled) == {"count": 1, "app_url": "u"}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (["--ratio", "2"], 2),
        (["--ratio", "1e-3"], 0.001),
        (["--tags", '["a", "b"]'], ["a", "b"]),
        (["--tags", "null"], None),
        (["--loud"], True),
        (["--no-loud"], False),
        (["--loud", "no"], False),
        (["--loud=true"], True),
        (["--shade", "dark"], "dark"),
        (["--point", '{"x": 1}'], {"x": 1}),
        (["--either", "5"], 5),
        (["--either", "five"], "five"),
        (["--app-url", "17"], "17"),
        (["--app-url", "--"], "--"),
    ],
)
def test_values_are_read_by_the_parameters_type(text: list[str], value: object) -> None:
    found = parse("--count", "1", *text)
    del found["count"]
    assert list(found.values()) == [value]


def test_every_mistake_is_named_at_once() -> None:
    said = mistakes("5", "--ratio", "much", "--cuont", "3", "--tags", "[1", "--point", "x")
    assert "`5` has no name: arguments are given as `--name value`" in said
    assert "`--ratio` must be `float`, not `much`" in said
    assert "`--cuont` is not an argument of this task: it takes --count, --app_url" in said
    assert "`--point`" in said
    assert "`--count` is missing (int)" in said
    assert "`--count` needs a value" in mistakes("--count")
    assert "`--count` is given twice" in mistakes("--count", "1", "--count", "2")


def test_json_is_asked_for_where_it_is_needed() -> None:
    def structured(data: dict[str, int]) -> None: ...

    with pytest.raises(Stop, match=r"`--data` must be `dict\[str, int\]` written as JSON, not `x`"):
        parse("--data", "x", function=structured)


def test_extra_arguments_are_taken_where_the_task_takes_them() -> None:
    def open_ended(**kwargs: object) -> None: ...

    assert parse("--any", "1", "--some-thing", "text", function=open_ended) == {
        "any": 1,
        "some_thing": "text",
    }


def test_the_help_tells_types_docs_and_defaults() -> None:
    lines = arguments.explain(
        "work.task", interface_of(task), task.__doc__ or "", "callmesh run f.py task"
    )
    text = "\n".join(lines)
    assert lines[0] == "Usage: callmesh run f.py task [--ARGUMENT VALUE]..."
    assert "  Count things." in text
    assert "--count int" in text
    assert "How often, in all. [required]" in text
    assert "Say it aloud. [default: false]" in text
    assert "Returns: dict[str, int]" in text
    assert "What was counted" not in text
    assert max(map(len, lines)) <= 80


def test_a_task_without_parameters_has_a_short_help() -> None:
    assert arguments.explain("a.b", scheduler_pb2.TaskInterface(), "", "callmesh run f.py b") == [
        "Usage: callmesh run f.py b [--ARGUMENT VALUE]...",
        "",
        "  Task `a.b`.",
    ]
