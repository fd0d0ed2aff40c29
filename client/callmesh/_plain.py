"""Hints that are JSON's own types: checked and restored without pydantic."""

from __future__ import annotations

import types
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Check = Callable[[Any], str]
Restore = Callable[[Any], Any]

_UNIONS = (typing.Union, types.UnionType)


class Mismatch(TypeError):
    """The value is not of the declared type, or cannot be sent. ``str()`` says why."""


@dataclass(frozen=True, slots=True)
class Plain:
    """How values of one hint are checked and restored.

    ``check`` says what was found instead, or "". ``restore`` takes what JSON
    gives, and raises `Mismatch`. ``loose`` values may hold what JSON does not.
    """

    check: Check
    restore: Restore
    schema: dict[str, Any]
    loose: bool = False


def plain_of(hint: Any) -> Plain | None:
    """The hint as JSON's types, or None where it needs more. The hint is hashable."""
    if hint in _LEAVES:
        return _LEAVES[hint]
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is list and len(arguments) == 1:
        inner = plain_of(arguments[0])
        return inner and _list_of(inner)
    if origin is dict and len(arguments) == 2 and arguments[0] is str:
        inner = plain_of(arguments[1])
        return inner and _dict_of(inner)
    if origin in _UNIONS:
        members = [plain_of(member) for member in arguments]
        known = [member for member in members if member is not None]
        return _union_of(known) if len(known) == len(members) else None
    return None


def named(value: Any) -> str:
    """A value as a message shows it: its type and a bounded piece of it."""
    text = repr(value)
    return f"`{type(value).__name__}` {text if len(text) <= 40 else text[:39] + '…'}"


def _list_of(item: Plain) -> Plain:
    def check(value: Any) -> str:
        if not isinstance(value, list):
            return named(value)
        for index, each in enumerate(value):
            found = item.check(each)
            if found:
                return f"{found} at [{index}]"
        return ""

    def restore(value: Any) -> Any:
        if not isinstance(value, list):
            raise Mismatch(named(value))
        return [item.restore(each) for each in value]

    return Plain(check, restore, {"type": "array", "items": item.schema}, item.loose)


def _dict_of(item: Plain) -> Plain:
    def check(value: Any) -> str:
        if not isinstance(value, dict):
            return named(value)
        for key, each in value.items():
            if not isinstance(key, str):
                return f"the key {named(key)}"
            found = item.check(each)
            if found:
                return f"{found} at [{key!r}]"
        return ""

    def restore(value: Any) -> Any:
        if not isinstance(value, dict):
            raise Mismatch(named(value))
        return {key: item.restore(each) for key, each in value.items()}

    schema = {"type": "object", "additionalProperties": item.schema}
    return Plain(check, restore, schema, item.loose)


def _union_of(members: list[Plain]) -> Plain:
    def check(value: Any) -> str:
        return "" if any(not member.check(value) for member in members) else named(value)

    def restore(value: Any) -> Any:
        # The member that the value is of already wins over one that converts it.
        for member in members:
            if not member.check(value):
                return member.restore(value)
        for member in members:
            try:
                return member.restore(value)
            except Mismatch:
                continue
        raise Mismatch(named(value))

    schema = {"anyOf": [member.schema for member in members]}
    return Plain(check, restore, schema, any(member.loose for member in members))


def _anything(value: Any) -> Any:
    return value


def _check_nothing(_: Any) -> str:
    return ""


def _check_int(value: Any) -> str:
    return "" if isinstance(value, int) and not isinstance(value, bool) else named(value)


def _restore_float(value: Any) -> Any:
    # JSON of other languages writes 1.0 as 1.
    if isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, float):
        raise Mismatch(named(value))
    return value


def _leaf(check: Check, schema: dict[str, Any], *, loose: bool = False) -> Plain:
    def restore(value: Any) -> Any:
        found = check(value)
        if found:
            raise Mismatch(found)
        return value

    return Plain(check, restore, schema, loose)


def _instance(*kinds: type) -> Check:
    return lambda value: "" if isinstance(value, kinds) else named(value)


_NULL = _leaf(_instance(types.NoneType), {"type": "null"})
_LIST = _leaf(_instance(list), {"type": "array"}, loose=True)
_DICT = _leaf(_instance(dict), {"type": "object"}, loose=True)
_ANY = Plain(_check_nothing, _anything, {}, loose=True)
_LEAVES: dict[Any, Plain] = {
    int: _leaf(_check_int, {"type": "integer"}),
    float: Plain(_instance(float), _restore_float, {"type": "number"}),
    str: _leaf(_instance(str), {"type": "string"}),
    bool: _leaf(_instance(bool), {"type": "boolean"}),
    None: _NULL,
    types.NoneType: _NULL,
    list: _LIST,
    typing.List: _LIST,  # noqa: UP006 - as users write it
    dict: _DICT,
    typing.Dict: _DICT,  # noqa: UP006 - as users write it
    Any: _ANY,
    object: _ANY,
}
