"""Values by type hints: what goes as JSON, what by cloudpickle, and what is refused."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import pathlib
import typing
import uuid
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pydantic
import pytest

from callmesh import _blobs, errors, io, values
from callmesh._signature import signature_of
from callmeshpb.v1 import common_pb2


class Model(pydantic.BaseModel):
    a: int
    b: str = "x"


class Bytes(pydantic.BaseModel):
    data: bytes


@dataclasses.dataclass
class Nested:
    model: Model
    pair: tuple[int, str]


class Colour(enum.Enum):
    RED = "red"


class Fields(typing.TypedDict):
    x: int
    y: typing.NotRequired[str]


class Point(typing.NamedTuple):
    x: int
    label: str


class Plain:
    def __init__(self, value: int) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Plain) and self.value == other.value

    __hash__ = None  # type: ignore[assignment]


NOW = datetime.datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=datetime.UTC)

JSON_SHAPED = [
    (int, 1),
    (float, 1.5),
    (str, "é\ud800"),
    (bool, True),
    (None, None),
    (bytes, b"\xff\x00"),
    (list[int], [1]),
    (list[bytes], [b"\xff"]),
    (dict[str, float], {"a": 1.0}),
    (dict, {"a": [1, {"b": None}]}),
    (list, [1, "a"]),
    (dict[int, str], {1: "a"}),
    (set[int], {1, 2}),
    (frozenset[str], frozenset("ab")),
    (tuple[int, ...], (1, 2)),
    (int | None, None),
    (typing.Optional[Model], Model(a=1)),  # noqa: UP045 - as users write it
    (int | str, "1"),
    (typing.Literal["x", 1], 1),
    (Colour, Colour.RED),
    (NOW.__class__, NOW),
    (datetime.date, NOW.date()),
    (datetime.timedelta, datetime.timedelta(days=1, microseconds=5)),
    (Model, Model(a=1)),
    (Nested, Nested(Model(a=2), (1, "b"))),
    (list[Nested], [Nested(Model(a=2), (1, "b"))]),
    (dict[str, Model], {"m": Model(a=3)}),
    (Fields, {"x": 1}),
    (decimal.Decimal, decimal.Decimal("1.10")),
    (uuid.UUID, uuid.UUID(int=5)),
    (pathlib.Path, pathlib.Path("/a/b")),
    (typing.Any, {"a": 1}),
]
PICKLED = [
    (Plain, Plain(3)),
    (typing.Any, Plain(3)),
    (typing.Any, (1, 2)),
    (dict, {1: 2}),
    (list, [(1, 2)]),
    (dict[str, typing.Any], {"a": NOW}),
    (Bytes, Bytes(data=b"\xff")),
]


def task_of(hint: Any) -> Callable[..., Any]:
    def task(x: Any) -> Any:
        return x

    task.__annotations__ = {"x": hint, "return": hint}
    return task


def decoded(task: Callable[..., Any], outputs: list[common_pb2.Value], is_tuple: bool) -> Any:
    result = signature_of(task).result
    return values.decode_outputs(outputs, is_tuple=is_tuple, declared=result, trusted=True)


@pytest.mark.parametrize(
    ("hint", "value", "kind"),
    [(h, v, "json") for h, v in JSON_SHAPED] + [(h, v, "pickle") for h, v in PICKLED],
)
def test_a_value_comes_back_as_it_went(hint: Any, value: Any, kind: str) -> None:
    task = task_of(hint)
    inputs = values.encode_inputs(task, (value,), {})
    assert inputs["x"].WhichOneof("kind") == kind
    got = values.decode_inputs(task, inputs)["x"]
    assert (got, type(got)) == (value, type(value))
    outputs, is_tuple = values.encode_outputs(task, value)
    back = decoded(task, outputs, is_tuple)
    assert (back, type(back)) == (value, type(value))


def test_arrays_and_frames_travel() -> None:
    array, frame = np.arange(3), pd.DataFrame({"a": [1]})
    for hint, value in ((np.ndarray, array), (pd.DataFrame, frame)):
        task = task_of(hint)
        got = values.decode_inputs(task, values.encode_inputs(task, (value,), {}))["x"]
        assert type(got) is type(value)
        assert got.tolist() == value.tolist() if hint is np.ndarray else got.equals(value)


@pytest.mark.parametrize(
    ("hint", "value"),
    [
        (int, "1"),
        (int, True),
        (float, 1),
        (str, b"x"),
        (bool, 0),
        (list[int], [1, "2"]),
        (dict[str, int], {1: 1}),
        (dict, []),
        (Model, {"a": "x"}),
        (Colour, "red"),
        (Plain, 3),
        (typing.Literal["x"], "y"),
        (int | None, "x"),
    ],
)
def test_a_value_of_another_type_is_refused(hint: Any, value: Any) -> None:
    with pytest.raises(errors.InputsError, match="argument `x` must be"):
        values.encode_inputs(task_of(hint), (value,), {})


def test_a_model_may_be_given_as_its_fields() -> None:
    task = task_of(Model)
    inputs = values.encode_inputs(task, ({"a": 1},), {})
    assert values.decode_inputs(task, inputs) == {"x": Model(a=1)}


def test_json_of_other_languages_is_taken_for_floats() -> None:
    task = task_of(dict[str, list[float]])
    given = {"x": common_pb2.Value(json=b'{"a": [1, 2.5]}')}
    assert values.decode_inputs(task, given) == {"x": {"a": [1.0, 2.5]}}
    assert isinstance(values.decode_inputs(task, given)["x"]["a"][0], float)


def test_every_mistake_is_named_at_once() -> None:
    def task(a: int, b: str, c: float = 1.0) -> None: ...

    with pytest.raises(errors.InputsError) as caught:
        values.encode_inputs(task, (), {"a": "x", "d": 1})
    text = str(caught.value)
    assert "`b` is missing" in text
    assert "`d` is unknown (known: `a`, `b`, `c`)" in text
    assert "`a` must be `int`, not `str` 'x'" in text
    assert isinstance(caught.value, TypeError)
    assert isinstance(caught.value, ValueError)


def test_positional_arguments_get_names() -> None:
    def task(a: int, b: int = 2) -> None: ...

    assert set(values.encode_inputs(task, (1,), {})) == {"a"}
    assert set(values.encode_inputs(task, (1, 2), {})) == {"a", "b"}
    with pytest.raises(errors.InputsError, match="3 positional arguments where at most 2"):
        values.encode_inputs(task, (1, 2, 3), {})
    with pytest.raises(errors.InputsError, match="`a` is given twice"):
        values.encode_inputs(task, (1,), {"a": 1})


def test_extra_keywords_go_where_they_are_taken() -> None:
    def task(a: int, **others: Any) -> None: ...

    inputs = values.encode_inputs(task, (1,), {"z": [1]})
    assert values.decode_inputs(task, inputs) == {"a": 1, "z": [1]}


def test_a_tuple_is_several_outputs() -> None:
    def pair() -> tuple[int, str]:
        return 1, "a"

    outputs, is_tuple = values.encode_outputs(pair, (1, "a"))
    assert (len(outputs), is_tuple) == (2, True)
    assert values.decode_outputs(outputs, is_tuple=True) == (1, "a")
    with pytest.raises(errors.RuntimeDataValidationError, match="must be a tuple of 2 values"):
        values.encode_outputs(pair, 1)
    with pytest.raises(errors.RuntimeDataValidationError, match=r"at \[1\] must be `str`"):
        values.encode_outputs(pair, (1, 2))


def test_a_named_tuple_comes_back_named() -> None:
    def point() -> Point:
        return Point(1, "a")

    outputs, is_tuple = values.encode_outputs(point, Point(1, "a"))
    assert decoded(point, outputs, is_tuple) == Point(1, "a")


def test_a_result_without_annotation_goes_by_what_it_is() -> None:
    def bare():  # type: ignore[no-untyped-def]
        ...

    outputs, is_tuple = values.encode_outputs(bare, {"a": 1})
    assert (outputs[0].json, is_tuple) == (b'{"a":1}', False)
    assert values.encode_outputs(bare, (1, 2))[1] is True


def test_a_result_that_cannot_be_pickled_says_why() -> None:
    def task() -> Any: ...

    with pytest.raises(errors.RuntimeDataValidationError, match="cannot be sent"):
        values.encode_outputs(task, (value for value in ()))


def test_a_pickle_is_not_opened_for_strangers() -> None:
    outputs, _ = values.encode_outputs(task_of(Plain), Plain(1))
    with pytest.raises(TypeError, match="only travels between tasks"):
        values.decode_outputs(outputs)


def test_values_without_hints_take_their_natural_json() -> None:
    assert values.encode_untyped(Model(a=1)).json == b'{"a":1,"b":"x"}'
    assert values.encode_untyped(Colour.RED).json == b'"red"'
    assert values.encode_untyped(NOW.date()).json == b'"2026-01-02"'
    assert values.encode_untyped(Plain(1)).WhichOneof("kind") == "pickle"


def test_what_has_no_names_is_no_task() -> None:
    def task(*args: int) -> None: ...

    with pytest.raises(TypeError, match="no name to pass it by"):
        values.encode_inputs(task, (), {})


def test_a_hint_that_does_not_exist_is_named() -> None:
    def task(x: "Missing") -> None: ...  # type: ignore[name-defined]  # noqa: F821, UP037

    with pytest.raises(TypeError, match="names `Missing`, which its module does not define"):
        values.encode_inputs(task, (1,), {})


def test_large_values_go_by_reference(mesh: Any) -> None:
    def task(x: bytes) -> bytes: ...

    big = b"x" * (values.INLINE_LIMIT + 1)
    outputs = _blobs.offload_here(values.encode_outputs(task, big)[0])
    assert outputs[0].ref.size > values.INLINE_LIMIT
    assert outputs[0].ref.media == "json"
    assert list(mesh.blobs) == [outputs[0].ref.digest]
    assert values.decode_inputs(task, {"x": outputs[0]}) == {"x": big}


@pytest.mark.parametrize(
    "value",
    [
        {1: 2},
        [(1, {2})],
        {"a": NOW, "b": b"\xff"},
        np.arange(3),
        np.float32(1.5),
        pd.DataFrame({"a": [1, 2], "b": ["x", None], "c": pd.to_datetime(["2026-01-01"] * 2)}),
    ],
)
def test_a_pickle_that_is_data_alone_is_opened_for_everybody(value: Any) -> None:
    got = values.decode_outputs(values.encode_outputs(task_of(Any), value)[0])
    assert type(got) is type(value)
    assert got.equals(value) if isinstance(value, pd.DataFrame) else np.all(got == value)


@pytest.mark.parametrize("data", [b"", b"\x80\x04cdatetime\ndate\n)R.", b"\x80\x04]"])
def test_a_pickle_that_cannot_be_read_here_is_said_so(data: bytes) -> None:
    with pytest.raises(TypeError, match="cannot be read here"):
        values.decode_outputs([common_pb2.Value(pickle=data)])


def test_a_pickle_that_calls_something_is_not() -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return pathlib.Path.touch, (pathlib.Path("/tmp/evil"),)

    outputs, _ = values.encode_outputs(task_of(typing.Any), {"a": [Evil()]})
    with pytest.raises(TypeError, match="only travels between tasks"):
        values.decode_outputs(outputs)


def test_a_plain_frame_where_a_stored_one_is_declared() -> None:
    def total(table: io.DataFrame) -> int: ...

    with pytest.raises(errors.InputsError, match=r"`DataFrame.from_df\(frame\)`"):
        values.encode_inputs(total, (pd.DataFrame({"a": [1]}),), {})
