"""What a task's function declares: its parameters and its result, hints resolved."""

from __future__ import annotations

import functools
import inspect
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass

ANY = typing.Any


@dataclass(frozen=True, slots=True)
class ParameterHint:
    """One parameter."""

    name: str
    hint: typing.Any
    required: bool
    default: object = None


@dataclass(frozen=True, slots=True)
class ResultHint:
    """The result: one value of ``hint``, or the members of a tuple.

    ``members`` is set for ``tuple[A, B]`` and for a named tuple, whose class is
    ``named``. ``undeclared`` is set where there is no annotation.
    """

    hint: typing.Any
    members: tuple[typing.Any, ...] | None = None
    named: Callable[..., tuple[typing.Any, ...]] | None = None
    undeclared: bool = False


@dataclass(frozen=True, slots=True)
class TaskSignature:
    """A function that can be called by names."""

    name: str
    parameters: tuple[ParameterHint, ...]
    result: ResultHint
    accepts_extra: bool


@functools.cache
def signature_of(function: Callable[..., object]) -> TaskSignature:
    """Read a function's signature.

    Raises `TypeError` for what cannot be called by names, and for hints whose
    names do not exist.
    """
    name = getattr(function, "__name__", "task")
    signature = inspect.signature(function)
    hints = _hints(function, name)
    parameters: list[ParameterHint] = []
    extra = False
    for each in signature.parameters.values():
        if each.kind in (each.POSITIONAL_ONLY, each.VAR_POSITIONAL):
            raise TypeError(
                f"parameter `{each.name}` of task `{name}` has no name to pass it by: "
                "must be an ordinary or a keyword-only parameter"
            )
        if each.kind is each.VAR_KEYWORD:
            extra = True
            continue
        required = each.default is each.empty
        parameters.append(
            ParameterHint(
                each.name, hints.get(each.name, ANY), required, None if required else each.default
            )
        )
    return TaskSignature(name, tuple(parameters), _result(hints), extra)


def text_of(hint: object) -> str:
    """A hint as a user reads it: ``dict[str, int]``."""
    if hint is None or hint is type(None):
        return "None"
    if isinstance(hint, type) and not isinstance(hint, types.GenericAlias):
        return hint.__qualname__
    return str(hint).replace("typing.", "").replace("NoneType", "None")


def _hints(function: Callable[..., object], name: str) -> dict[str, typing.Any]:
    if not getattr(function, "__annotations__", None):
        return {}
    try:
        return typing.get_type_hints(function, include_extras=True)
    except NameError as problem:
        raise TypeError(
            f"a type hint of task `{name}` names `{problem.name}`, which its module does not "
            "define: import it, outside of `if TYPE_CHECKING`"
        ) from None


def _result(hints: dict[str, typing.Any]) -> ResultHint:
    if "return" not in hints:
        return ResultHint(ANY, undeclared=True)
    hint = hints["return"]
    if isinstance(hint, type) and issubclass(hint, tuple) and hasattr(hint, "_fields"):
        fields = typing.get_type_hints(hint, include_extras=True)
        members = tuple(fields.get(field, ANY) for field in hint._fields)
        return ResultHint(hint, members, named=hint)
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) is tuple and arguments and Ellipsis not in arguments:
        return ResultHint(hint, arguments)
    return ResultHint(hint)
