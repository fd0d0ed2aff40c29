"""How one Python value of a declared type becomes bytes, and comes back.

Plain JSON types are checked here, without pydantic. Other types go through a
pydantic ``TypeAdapter`` where pydantic knows them; what it does not know, and
what does not survive JSON, travels by cloudpickle.
"""

from __future__ import annotations

import functools
import json
import sys
import types
import typing
from typing import TYPE_CHECKING, Any, Protocol

from callmesh._plain import Mismatch, Plain, plain_of
from callmesh._signature import text_of
from callmeshpb.v1 import common_pb2

if TYPE_CHECKING:
    from pydantic import TypeAdapter


class Codec(Protocol):
    """Encodes and decodes values of one hint."""

    def encode(self, value: Any) -> common_pb2.Value:
        """The value on the wire. Raises `Mismatch`."""
        ...

    def restore(self, data: bytes) -> Any:
        """The value that JSON bytes stand for. Raises `Mismatch`."""
        ...

    def schema(self) -> dict[str, Any]:
        """JSON Schema; empty means any."""
        ...


@functools.cache
def _cached(hint: Any) -> Codec:
    plain = plain_of(hint)
    return PlainCodec(hint, plain) if plain else AdapterCodec(hint)


def codec_of(hint: Any) -> Codec:
    """The codec of a hint."""
    try:
        hash(hint)
    except TypeError:  # such as Annotated[int, {}]
        return AdapterCodec(hint)
    return _cached(hint)


def dump_json(value: Any) -> bytes:
    """JSON as it travels."""
    return json.dumps(value, separators=(",", ":")).encode()


def is_jsonable(value: Any) -> bool:
    """It is JSON-shaped, and JSON gives back an equal value of the same types."""
    kind = type(value)
    if kind in (str, int, float, bool, types.NoneType):
        return True
    if kind is list:
        return all(map(is_jsonable, value))
    if kind is dict:
        return all(type(key) is str for key in value) and all(map(is_jsonable, value.values()))
    return False


def pickled(value: Any) -> common_pb2.Value:
    """The value by cloudpickle. Raises `Mismatch` where it cannot be pickled."""
    import cloudpickle

    try:
        return common_pb2.Value(pickle=cloudpickle.dumps(value))
    except Exception as problem:
        raise Mismatch(
            f"cannot be sent: it is a `{type(value).__name__}`, and {type(problem).__name__} says: "
            f"{problem}; use data instead, such as a list or a dataclass"
        ) from problem


class PlainCodec:
    """JSON types, checked strictly: an int is not a float."""

    def __init__(self, hint: Any, plain: Plain) -> None:
        self._text = text_of(hint)
        self._plain = plain

    def encode(self, value: Any) -> common_pb2.Value:
        """The value as JSON; by cloudpickle what a loose hint let in."""
        found = self._plain.check(value)
        if found:
            raise Mismatch(f"must be `{self._text}`, not {found}")
        if self._plain.loose and not is_jsonable(value):
            return pickled(value)
        return common_pb2.Value(json=dump_json(value))

    def restore(self, data: bytes) -> Any:
        """The value that JSON bytes stand for."""
        try:
            return self._plain.restore(json.loads(data))
        except Mismatch as problem:
            raise Mismatch(f"must be `{self._text}`, not {problem}") from None
        except ValueError as problem:
            raise Mismatch(f"must be `{self._text}`, not malformed JSON: {problem}") from None

    def schema(self) -> dict[str, Any]:
        """JSON Schema; empty means any."""
        return dict(self._plain.schema)


class AdapterCodec:
    """What pydantic knows; by cloudpickle what it does not, or what JSON would change."""

    def __init__(self, hint: Any) -> None:
        self._hint = hint
        self._text = text_of(hint)

    @functools.cached_property
    def _adapter(self) -> TypeAdapter[Any] | None:
        import pydantic

        settings = pydantic.ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")
        for config in (settings, None):
            try:
                return pydantic.TypeAdapter(_adaptable(self._hint), config=config)
            except pydantic.PydanticSchemaGenerationError:
                return None
            except pydantic.PydanticUserError:
                continue
        return None

    def encode(self, value: Any) -> common_pb2.Value:
        """The value as JSON where that gives it back, else by cloudpickle."""
        adapter = self._adapter
        if adapter is None:
            self._check_members(value)
            return pickled(value)
        import pydantic
        import pydantic_core

        try:
            value = adapter.validate_python(value, strict=True)
        except pydantic.ValidationError as problem:
            raise Mismatch(f"must be `{self._text}`: {_summary(problem)}") from None
        try:
            data = adapter.dump_json(value, by_alias=True, warnings="error")
            adapter.validate_json(data)
        except (pydantic_core.PydanticSerializationError, pydantic.ValidationError):
            return pickled(value)
        return common_pb2.Value(json=data)

    def restore(self, data: bytes) -> Any:
        """The value that JSON bytes stand for."""
        adapter = self._adapter
        if adapter is None:
            raise Mismatch(
                f"must be a `{self._text}`, which has no JSON form: send it from Python code"
            )
        import pydantic

        try:
            return adapter.validate_json(data)
        except pydantic.ValidationError as problem:
            raise Mismatch(f"must be `{self._text}`: {_summary(problem)}") from None

    def schema(self) -> dict[str, Any]:
        """JSON Schema; empty means any."""
        import pydantic

        if self._adapter is None:
            return {"title": self._text, "x-python-object": True}
        try:
            return self._adapter.json_schema()
        except pydantic.PydanticUserError:
            return {}

    @functools.cached_property
    def _member_check(self) -> TypeAdapter[Any] | None:
        """Checks what has no JSON form: classes that pydantic does not know, by `isinstance`."""
        import pydantic

        try:
            return pydantic.TypeAdapter(
                self._hint, config=pydantic.ConfigDict(arbitrary_types_allowed=True)
            )
        except (pydantic.PydanticUserError, pydantic.PydanticSchemaGenerationError):
            return None

    def _check_members(self, value: Any) -> None:
        if self._member_check is None:
            self._check_instance(value)
            return
        import pydantic

        try:
            self._member_check.validate_python(value, strict=True)
        except pydantic.ValidationError as problem:
            raise Mismatch(f"must be `{self._text}`: {_summary(problem)}") from None

    def _check_instance(self, value: Any) -> None:
        kind = typing.get_origin(self._hint) or self._hint
        if typing.is_typeddict(kind):
            kind = dict
        if isinstance(kind, type) and not isinstance(value, kind):
            raise Mismatch(f"must be `{self._text}`, not `{type(value).__name__}`")


def _adaptable(hint: Any) -> Any:
    """The hint as pydantic takes it: before Python 3.12 it refuses `typing.TypedDict`."""
    if not typing.is_typeddict(hint) or sys.version_info >= (3, 12):
        return hint
    import typing_extensions

    hints = typing.get_type_hints(hint, include_extras=True)
    optional = {
        name: each if name in hint.__required_keys__ else typing_extensions.NotRequired[each]
        for name, each in hints.items()
    }
    return typing_extensions.TypedDict(hint.__name__, optional)  # type: ignore[operator]


def _summary(problem: Any) -> str:
    found = []
    for each in problem.errors(include_url=False, include_context=False)[:3]:
        where = ".".join(str(part) for part in each["loc"])
        found.append(f"{where}: {each['msg']}" if where else each["msg"])
    more = problem.error_count() - len(found)
    return "; ".join(found) + (f"; and {more} more" if more > 0 else "")
