"""A task's interface for those who have only that."""

from __future__ import annotations

import enum
import json
from typing import Any

import pydantic
import pytest

from callmesh import errors
from callmesh.interface import encode_call, interface_of, mismatch


class Size(enum.Enum):
    BIG = "big"


class Order(pydantic.BaseModel):
    item: str
    count: int = 1


def price(order: Order, size: Size, rate: float = 1.5, tags: list[str] | None = None) -> float: ...


def test_parameters_say_their_schema_type_and_default() -> None:
    found = interface_of(price)
    order, size, rate, tags = found.parameters
    assert [each.required for each in found.parameters] == [True, True, False, False]
    assert json.loads(order.schema)["required"] == ["item"]
    assert (size.type, json.loads(size.schema)["enum"]) == ("Size", ["big"])
    assert (rate.type, rate.schema, rate.default_value.json) == (
        "float",
        '{"type":"number"}',
        b"1.5",
    )
    assert tags.default_value.json == b"null"
    assert (found.result_type, found.result_arity) == ("float", 0)


def test_a_tuple_has_an_arity() -> None:
    def pair() -> tuple[int, str]: ...

    assert interface_of(pair).result_arity == 2


def test_a_remote_call_is_checked_by_schema() -> None:
    interface = interface_of(price)
    good = encode_call("shop.price", interface, (Order(item="cup"), Size.BIG), {"rate": 2})
    assert {name: value.json for name, value in good.items()} == {
        "order": b'{"item":"cup","count":1}',
        "size": b'"big"',
        "rate": b"2",
    }
    with pytest.raises(errors.InputsError) as caught:
        encode_call("shop.price", interface, ({"count": 1},), {"rate": "x", "wrong": 1})
    text = str(caught.value)
    assert "argument `size` is missing" in text
    assert "argument `wrong` is unknown" in text
    assert "argument `rate` must be `float`, not `str` 'x'" in text
    assert "argument `order` must be `Order`, not an object without `item`" in text


@pytest.mark.parametrize(
    ("schema", "value", "fits"),
    [
        ({}, object, True),
        ({"type": "integer"}, True, False),
        ({"type": "number"}, 1, True),
        ({"type": ["string", "null"]}, None, True),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "x", False),
        ({"type": "array", "items": {"type": "integer"}}, [1, "2"], False),
        ({"$ref": "#/$defs/A", "$defs": {"A": {"type": "string"}}}, 1, False),
        ({"type": "object", "additionalProperties": {"type": "integer"}}, {"a": 1}, True),
        ({"enum": [1, 2]}, 3, False),
    ],
)
def test_a_value_against_a_schema(schema: dict[str, Any], value: Any, fits: bool) -> None:
    assert (mismatch(schema, value) == "") is fits
