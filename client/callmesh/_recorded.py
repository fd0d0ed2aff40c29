"""Hints read back from a task's record: for whoever has no code of the task.

A type is recorded as text and as JSON Schema. Text that names nothing but
Python's own types becomes a hint again, so that a `datetime` comes back as one;
a class of the user's is known by its schema alone, and its values stay as JSON
gives them.
"""

from __future__ import annotations

import ast
import datetime
import decimal
import functools
import json
import pathlib
import typing
import uuid
from typing import Any

from callmesh import _codecs
from callmesh._signature import ResultHint
from callmeshpb.v1 import scheduler_pb2

_BUILTINS: tuple[type, ...] = (
    bool, bytes, complex, dict, float, frozenset, int, list, object, set, str, tuple,
)  # fmt: skip
_NAMES: dict[str, Any] = {each.__name__: each for each in _BUILTINS}
_OTHERS = (
    datetime.date, datetime.datetime, datetime.time, datetime.timedelta, decimal.Decimal,
    pathlib.Path, uuid.UUID,
)  # fmt: skip
for _each in _OTHERS:
    # Alone a type is recorded by its own name, within another with its module's.
    _NAMES[_each.__qualname__] = _each
    _NAMES[f"{_each.__module__}.{_each.__qualname__}"] = _each
    _NAMES[f"{_each.__module__.partition('.')[0]}.{_each.__qualname__}"] = _each
_NAMES |= {
    name: getattr(typing, name)
    for name in ("Any", "Dict", "FrozenSet", "List", "Literal", "Optional", "Set", "Tuple", "Union")
}
_IO = {"DataFrame": "_frame", "Dir": "_dir", "File": "_file"}


class _UnknownName(Exception):
    """A type that only the task's own code has."""


@functools.lru_cache(maxsize=1024)
def hint_of(text: str, schema: str) -> Any:
    """The hint that was recorded as ``text`` and ``schema``; None where it is the user's own.

    The schema must be the hint's: a class of the user's may be called `Path`.
    """
    try:
        hint = _built(ast.parse(text, mode="eval").body) if text else Any
    except (_UnknownName, SyntaxError, TypeError):
        return None
    if hint is None:
        hint = type(None)
    known = _codecs.codec_of(hint).schema()
    if known != (json.loads(schema) if schema else {}):
        return None
    return hint


def result_of(interface: scheduler_pb2.TaskInterface) -> ResultHint:
    """The result as far as the record tells it."""
    hint = hint_of(interface.result_type, interface.result_schema)
    arguments = typing.get_args(hint) if interface.result_arity else ()
    if hint is None or len(arguments) != interface.result_arity:
        return ResultHint(Any)
    return ResultHint(hint, arguments or None)


def parameters_of(interface: scheduler_pb2.TaskInterface) -> dict[str, Any]:
    """The hint of each parameter; None where it is the user's own."""
    return {each.name: hint_of(each.type, each.schema) for each in interface.parameters}


def _built(node: ast.expr) -> Any:
    match node:
        case ast.Constant(value=value):
            return value
        case ast.Name() | ast.Attribute():
            return _named(ast.unparse(node))
        case ast.Subscript(value=origin, slice=ast.Tuple(elts=members)):
            return _built(origin)[tuple(map(_built, members))]
        case ast.Subscript(value=origin, slice=member):
            return _built(origin)[_built(member)]
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return typing.Union[_built(left), _built(right)]  # noqa: UP007 - of values
        case ast.List(elts=members):
            return [_built(each) for each in members]
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int(number))):
            return -number
        case _:
            raise _UnknownName(ast.unparse(node))


def _named(name: str) -> Any:
    if name in _NAMES:
        return _NAMES[name]
    own = name.rpartition(".")[2]
    if own in _IO and name in (own, f"callmesh.io.{own}", f"callmesh.io.{_IO[own]}.{own}"):
        from callmesh import io

        return getattr(io, own)
    raise _UnknownName(name)
