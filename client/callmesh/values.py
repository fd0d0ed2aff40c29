"""Python values ↔ wire values, by the signature of a task's function.

`encode_inputs` and `decode_outputs` are the caller's side, `decode_inputs` and
`encode_outputs` the worker's. What is over `INLINE_LIMIT` goes through the blob
store, by reference: both sides see to that with `_blobs`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from callmesh import _codecs
from callmesh._plain import Mismatch
from callmesh._signature import ParameterHint, ResultHint, TaskSignature, signature_of
from callmeshpb.v1 import common_pb2

INLINE_LIMIT = 10 * 1024 * 1024


def encode_inputs(
    function: Callable[..., object], args: Sequence[object], kwargs: Mapping[str, object]
) -> dict[str, common_pb2.Value]:
    """The arguments of a call, by name; defaults stay at the callee.

    Raises `errors.InputsError` naming every missing, unknown and mistyped
    argument at once.
    """
    signature = signature_of(function)
    given, mistakes = _bind(signature, args, kwargs)
    hints = {each.name: each for each in signature.parameters}
    encoded: dict[str, common_pb2.Value] = {}
    for name, value in given.items():
        hint = hints[name].hint if name in hints else Any
        try:
            encoded[name] = _codecs.codec_of(hint).encode(value)
        except Mismatch as problem:
            mistakes.append(f"argument `{name}` {problem}")
    _raise_mistakes(signature.name, mistakes)
    return encoded


def decode_inputs(
    function: Callable[..., object], inputs: Mapping[str, common_pb2.Value]
) -> dict[str, Any]:
    """Keyword arguments for the function. Raises `errors.InputsError`."""
    signature = signature_of(function)
    hints = {each.name: each for each in signature.parameters}
    mistakes = _missing(signature.parameters, inputs)
    found: dict[str, Any] = {}
    for name, value in inputs.items():
        if name not in hints and not signature.accepts_extra:
            mistakes.append(_unknown(signature, name))
            continue
        try:
            found[name] = _decode(hints[name].hint if name in hints else Any, value)
        except Mismatch as problem:
            mistakes.append(f"argument `{name}` {problem}")
    _raise_mistakes(signature.name, mistakes)
    return found


def encode_outputs(
    function: Callable[..., object], result: object
) -> tuple[list[common_pb2.Value], bool]:
    """The result's values, and whether they are the members of a tuple.

    Raises `errors.RuntimeDataValidationError` for a result that is not of the
    declared type or cannot be sent.
    """
    signature = signature_of(function)
    declared = signature.result
    is_tuple = declared.members is not None or (declared.undeclared and type(result) is tuple)
    try:
        if is_tuple:
            hints = declared.members or (Any,) * len(result)  # type: ignore[arg-type]
            encoded = _encode_members(hints, result)
        else:
            encoded = [_codecs.codec_of(declared.hint).encode(result)]
    except Mismatch as problem:
        from callmesh.errors import RuntimeDataValidationError

        raise RuntimeDataValidationError(
            f"the result of task `{signature.name}` {problem}"
        ) from None
    return encoded, is_tuple


def decode_outputs(
    outputs: Sequence[common_pb2.Value],
    *,
    is_tuple: bool = False,
    declared: ResultHint | None = None,
    trusted: bool = False,
) -> Any:
    """What the task returned: one value, or a tuple.

    ``declared`` is the result as the function or the task's record has it;
    without it values are as JSON gives them. Pickled values are only decoded
    where the task is ``trusted``.
    """
    if not is_tuple:
        hint = declared.hint if declared and declared.members is None else Any
        return _decode(hint, outputs[0], trusted=trusted) if outputs else None
    hints: Sequence[Any] = (declared.members if declared else None) or (Any,) * len(outputs)
    members = [
        _decode(hint, value, trusted=trusted) for hint, value in zip(hints, outputs, strict=False)
    ]
    return declared.named(*members) if declared and declared.named else tuple(members)


def encode_untyped(value: object) -> common_pb2.Value:
    """A value for a task whose hints are not known here.

    JSON where the value has a natural JSON form (a model, a date, an enum),
    cloudpickle otherwise. Raises `Mismatch`.
    """
    if _codecs.is_jsonable(value):
        return common_pb2.Value(json=_codecs.dump_json(value))
    import pydantic_core

    try:
        return common_pb2.Value(json=pydantic_core.to_json(value, bytes_mode="base64"))
    except (pydantic_core.PydanticSerializationError, ValueError):
        return _codecs.pickled(value)


def decode_recorded(hint: Any, value: common_pb2.Value) -> Any:
    """A value for whoever only has a task's record: see `_recorded.hint_of`.

    What only the task's code can read is shown as `load_json` does.
    """
    try:
        return _decode(Any if hint is None else hint, value, trusted=False)
    except Mismatch:
        return load_json(value)


def load_json(value: common_pb2.Value) -> Any:
    """A value as JSON gives it, for showing: no hints, nothing unpickled."""
    kind = value.WhichOneof("kind")
    if kind == "json":
        return json.loads(value.json)
    if kind == "ref":
        return {"blob": value.ref.digest, "bytes": value.ref.size}
    if kind == "pickle":
        return {"python_object": True, "bytes": len(value.pickle)}
    return None


def _decode(hint: Any, value: common_pb2.Value, *, trusted: bool = True) -> Any:
    kind, data = value.WhichOneof("kind"), b""
    if kind == "ref":
        from callmesh import _blobs

        kind, data = value.ref.media, _blobs.load(value.ref)
    elif kind is not None:
        data = value.json if kind == "json" else value.pickle
    if kind == "pickle":
        return _unpickled(data, trusted=trusted)
    if kind != "json":
        return None
    return _codecs.codec_of(hint).restore(data)


def _unpickled(data: bytes, *, trusted: bool) -> Any:
    if trusted:
        import pickle

        return pickle.loads(data)
    from callmesh import _data_pickle

    try:
        return _data_pickle.loads(data)
    except _data_pickle.NotData as problem:
        raise Mismatch(
            f"is a Python object that only travels between tasks (it holds `{problem}`): let the "
            "task return data, a dataclass or a Pydantic model to read it here"
        ) from None
    except ImportError as problem:
        raise Mismatch(f"cannot be read here: {problem}; install that library") from None
    except _data_pickle.Damaged as problem:
        raise Mismatch(
            f"cannot be read here ({problem}): install the versions of its libraries that the "
            "task's environment has"
        ) from None


def _encode_members(hints: Sequence[Any], result: object) -> list[common_pb2.Value]:
    if not isinstance(result, tuple) or len(result) != len(hints):
        found = f"{len(result)} values" if isinstance(result, tuple) else type(result).__name__
        raise Mismatch(f"must be a tuple of {len(hints)} values, not {found}")
    values = []
    for index, (hint, value) in enumerate(zip(hints, result, strict=True)):
        try:
            values.append(_codecs.codec_of(hint).encode(value))
        except Mismatch as problem:
            raise Mismatch(f"at [{index}] {problem}") from problem
    return values


def _bind(
    signature: TaskSignature, args: Sequence[object], kwargs: Mapping[str, object]
) -> tuple[dict[str, object], list[str]]:
    names = [each.name for each in signature.parameters]
    mistakes: list[str] = []
    if len(args) > len(names):
        mistakes.append(f"{len(args)} positional arguments where at most {len(names)} are taken")
    given: dict[str, object] = dict(zip(names, args, strict=False))
    for name, value in kwargs.items():
        if name in given:
            mistakes.append(f"argument `{name}` is given twice")
        elif name not in names and not signature.accepts_extra:
            mistakes.append(_unknown(signature, name))
        else:
            given[name] = value
    return given, mistakes + _missing(signature.parameters, given)


def _missing(parameters: Sequence[ParameterHint], given: Mapping[str, object]) -> list[str]:
    return [
        f"argument `{each.name}` is missing"
        for each in parameters
        if each.required and each.name not in given
    ]


def _unknown(signature: TaskSignature, name: str) -> str:
    known = ", ".join(f"`{each.name}`" for each in signature.parameters) or "none"
    return f"argument `{name}` is unknown (known: {known})"


def _raise_mistakes(task: str, mistakes: list[str]) -> None:
    if mistakes:
        from callmesh.errors import InputsError

        raise InputsError(f"task `{task}` cannot be called: {'; '.join(mistakes)}")
