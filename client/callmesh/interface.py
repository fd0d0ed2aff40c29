"""A task's interface as others see it: names, JSON Schemas, required or not.

Also the check of a remote call against it, which needs no code of the task.
"""

from __future__ import annotations

import dataclasses
import enum
import json
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from callmesh import _codecs, _recorded, values
from callmesh._plain import Mismatch, named
from callmesh._signature import ParameterHint, signature_of, text_of
from callmeshpb.v1 import common_pb2, scheduler_pb2

DEFAULT_LIMIT = 64 * 1024
# In the schema of what has no JSON form.
_OBJECT = "x-python-object"
_TYPES: dict[str, tuple[type, ...]] = {
    "integer": (int,),
    "number": (int, float),
    "string": (str,),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
    "null": (type(None),),
}


def interface_of(function: Callable[..., object]) -> scheduler_pb2.TaskInterface:
    """The interface of a function."""
    signature = signature_of(function)
    result = signature.result
    return scheduler_pb2.TaskInterface(
        parameters=[_parameter(each) for each in signature.parameters],
        result_schema="" if result.undeclared else _schema(result.hint),
        result_type="" if result.undeclared else text_of(result.hint),
        result_arity=len(result.members) if result.members is not None else 0,
        accepts_extra=signature.accepts_extra,
    )


def encode_call(
    task: str,
    interface: scheduler_pb2.TaskInterface,
    args: Sequence[object],
    kwargs: Mapping[str, object],
) -> dict[str, common_pb2.Value]:
    """The arguments of a call of a deployed task, checked against its schemas.

    Raises `errors.InputsError` naming every mistake at once.
    """
    names = [each.name for each in interface.parameters]
    mistakes: list[str] = []
    if len(args) > len(names):
        mistakes.append(f"{len(args)} positional arguments where at most {len(names)} are taken")
    given = {**dict(zip(names, args, strict=False)), **kwargs}
    for each in interface.parameters:
        if each.required and each.name not in given:
            mistakes.append(f"argument `{each.name}` is missing")
    schemas = {each.name: each for each in interface.parameters}
    encoded: dict[str, common_pb2.Value] = {}
    for name, value in given.items():
        if name not in schemas and not interface.accepts_extra:
            known = ", ".join(f"`{each}`" for each in names) or "none"
            mistakes.append(f"argument `{name}` is unknown (known: {known})")
            continue
        try:
            encoded[name] = _encoded(schemas.get(name), value)
        except Mismatch as problem:
            mistakes.append(f"argument `{name}` {problem}")
    if mistakes:
        from callmesh.errors import InputsError

        raise InputsError(f"task `{task}` cannot be called: {'; '.join(mistakes)}")
    return encoded


def mismatch(schema: Mapping[str, Any], value: Any, whole: Mapping[str, Any] | None = None) -> str:
    """What of a JSON value does not fit a JSON Schema, or "".

    Types, enumerations, unions, items and required properties are checked; what
    else a schema says is left to the task itself.
    """
    root = schema if whole is None else whole
    target = _resolve(schema, root)
    if "anyOf" in target:
        fits = any(not mismatch(each, value, root) for each in target["anyOf"])
        return "" if fits else named(value)
    if "enum" in target and value not in target["enum"]:
        return f"{named(value)} (one of {json.dumps(target['enum'])})"
    kinds = target.get("type")
    allowed = [kinds] if isinstance(kinds, str) else list(kinds or [])
    if allowed and not any(_is(kind, value) for kind in allowed):
        return named(value)
    if isinstance(value, list) and isinstance(target.get("items"), dict):
        return _first(
            (f"[{index}]", mismatch(target["items"], each, root))
            for index, each in enumerate(value)
        )
    if isinstance(value, dict):
        return _mismatch_object(target, value, root)
    return ""


def _mismatch_object(
    target: Mapping[str, Any], value: Mapping[str, Any], root: Mapping[str, Any]
) -> str:
    for name in target.get("required", ()):
        if name not in value:
            return f"an object without `{name}`"
    properties, others = target.get("properties", {}), target.get("additionalProperties")
    return _first(
        (f"[{name!r}]", mismatch(properties.get(name, others), each, root))
        for name, each in value.items()
        if isinstance(properties.get(name, others), dict)
    )


def _first(findings: Any) -> str:
    return next((f"{found} at {where}" for where, found in findings if found), "")


def _resolve(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Mapping[str, Any]:
    reference = schema.get("$ref", "")
    if not isinstance(reference, str) or not reference.startswith("#/"):
        return schema
    target: Any = root
    for part in reference[2:].split("/"):
        target = target.get(part, {}) if isinstance(target, dict) else {}
    return target if isinstance(target, dict) else {}


def _is(kind: str, value: Any) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    return isinstance(value, _TYPES.get(kind, (object,)))


def _encoded(parameter: scheduler_pb2.TaskParameter | None, value: object) -> common_pb2.Value:
    """A value for a parameter: by its recorded type where JSON alone would change the value."""
    if value is None and parameter is not None and _parsed(parameter.schema).get(_OBJECT):
        return _codecs.pickled(value)
    hint = _recorded.hint_of(parameter.type, parameter.schema) if parameter is not None else Any
    has_fields = dataclasses.is_dataclass(value) or hasattr(type(value), "model_fields")
    if hint is None or has_fields or isinstance(value, enum.Enum):
        return _checked(parameter, values.encode_untyped(value))
    if not _codecs.is_jsonable(value):
        return _codecs.codec_of(hint).encode(value)
    return _checked(parameter, values.encode_untyped(value))


def _checked(
    parameter: scheduler_pb2.TaskParameter | None, wire: common_pb2.Value
) -> common_pb2.Value:
    """The value, where it fits the parameter's schema."""
    if parameter is None or not parameter.schema or wire.WhichOneof("kind") != "json":
        return wire
    schema = _parsed(parameter.schema)
    if schema.get(_OBJECT):
        raise Mismatch(f"must be a `{parameter.type}`, which has no JSON form")
    found = mismatch(schema, json.loads(wire.json))
    if found:
        raise Mismatch(f"must be `{parameter.type}`, not {found}")
    return wire


@lru_cache(maxsize=512)
def _parsed(schema: str) -> Mapping[str, Any]:
    parsed: Mapping[str, Any] = json.loads(schema) if schema else {}
    return parsed


def _parameter(each: ParameterHint) -> scheduler_pb2.TaskParameter:
    return scheduler_pb2.TaskParameter(
        name=each.name,
        schema=_schema(each.hint),
        type=text_of(each.hint),
        required=each.required,
        default_value=None if each.required else _default(each),
    )


def _default(each: ParameterHint) -> common_pb2.Value | None:
    try:
        value = _codecs.codec_of(each.hint).encode(each.default)
    except Mismatch:  # `x: int = None`: the callee's own business
        return None
    return (
        value if value.WhichOneof("kind") == "json" and len(value.json) <= DEFAULT_LIMIT else None
    )


def _schema(hint: Any) -> str:
    schema = _codecs.codec_of(hint).schema()
    return json.dumps(schema, separators=(",", ":"), sort_keys=True) if schema else ""
