"""Markdown of a public name: its signature and its docstring, as the code has them."""

from __future__ import annotations

import dataclasses
import enum
import inspect
import re
import typing
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

WIDTH = 88
AWAITED = {"Verb", "Immediate", "method", "class_method", "Runner", "Server", "Map"}
FLOWS = {"Flow", "class_flow"}
# Members for other modules of the SDK, which are public to them alone.
INTERNAL = re.compile(r"For code on the (?:bridge's|mesh's own) loop|[Oo]n the wire|from the wire")
PAGES = ("callmesh.remote", "callmesh.app.extras", "callmesh.app", "callmesh.io", "callmesh.errors")


def section(module: ModuleType, name: str) -> list[str]:
    """One public name of a module, from its heading on."""
    value = getattr(module, name)
    lines = [f"## {name}", ""]
    if isinstance(value, ModuleType):
        return [*lines, f"The module [`{value.__name__}`]({value.__name__}.md).", ""]
    home, own_name = _home(module.__name__, value), getattr(value, "__name__", name)
    if home != module.__name__:
        return [*lines, f"[`{home}.{own_name}`]({home}.md#{own_name.lower()}).", ""]
    if own_name != name and isinstance(value, type):
        return [*lines, f"The same as [`{own_name}`](#{own_name.lower()}).", ""]
    if isinstance(value, type):
        return [*lines, *_class(value)]
    if not callable(value) or not hasattr(value, "__module__"):
        return [*lines, *_fenced(f"{name} = {_shown(value)}"), ""]
    return [*lines, *_callable(name, value)]


def text(docstring: str | None) -> list[str]:
    """A docstring as Markdown."""
    found = inspect.cleandoc(docstring or "").replace("``", "`")
    return re.sub(r"::$", ":", found, flags=re.MULTILINE).splitlines()


def error_tree(module: ModuleType) -> list[str]:
    """The exported exceptions of a module, drawn by their first base, with their first lines."""
    known = {n: getattr(module, n) for n in module.__all__ if isinstance(getattr(module, n), type)}
    children: dict[str, list[str]] = {}
    for name, kind in known.items():
        above = [base.__name__ for base in kind.__mro__[1:] if known.get(base.__name__) is base]
        children.setdefault(above[0] if above else "", []).append(name)

    def drawn(name: str, indent: str) -> Iterator[str]:
        below = children.get(name, [])
        for at, each in enumerate(below):
            is_last = at == len(below) - 1
            yield f"{indent}{'└── ' if is_last else '├── '}{each}"
            yield from drawn(each, indent + ("    " if is_last else "│   "))

    roots = [line for root in children[""] for line in (root, *drawn(root, ""))]
    return ["```text", *roots, "```", ""]


def _home(module: str, value: Any) -> str:
    """The page that documents a value: the public module that it is defined below."""
    defined = getattr(value, "__module__", "") or ""
    if module == "callmesh" or module.startswith("callmesh.app"):
        own = next((p for p in PAGES if defined == p or defined.startswith(f"{p}.")), "callmesh")
        return own if defined.startswith("callmesh") else module
    return module


def _class(kind: type) -> list[str]:
    bases = [base.__name__ for base in kind.__bases__ if not base.__name__.startswith("_")]
    bases = [
        base
        for base in bases
        if base not in ("object", "Generic", "tuple", "str", "Enum", "Exception", "BaseModel")
    ]
    lines = [f"Derived from {', '.join(f'`{base}`' for base in bases)}.", ""] if bases else []
    if issubclass(kind, enum.Enum):
        values = [f"{each.name} = {each.value!r}" for each in kind]
        lines = [*lines, *text(kind.__doc__), "", *_fenced("\n".join(values)), ""]
    else:
        if _is_made_by_users(kind):
            lines += [*_fenced(_signature(kind.__name__, kind)), ""]
        lines += [*text(kind.__doc__), ""]
    members = list(_members(kind))
    properties = [each for each in members if isinstance(each[1], property)]
    lines += [_property(name, each) for name, each in properties]
    lines += [""] if properties else []
    for name, member in members:
        if not isinstance(member, property):
            lines += [f"### {kind.__name__}.{name}", "", *_callable(name, member)]
    return lines


def _is_made_by_users(kind: type) -> bool:
    """Handles (of `remote`) are given, not made."""
    return dataclasses.is_dataclass(kind) or issubclass(kind, BaseException)


def _members(kind: type) -> Iterator[tuple[str, Any]]:
    """Public methods and properties of a class, and of those of its bases that are private."""
    seen: set[str] = set()
    for base in kind.__mro__:
        if base is not kind and not base.__name__.startswith("_"):
            continue
        for name, member in vars(base).items():
            if name.startswith("_") or name in seen or not _documented(member):
                continue
            seen.add(name)
            yield name, member


def _documented(member: Any) -> bool:
    is_slot = type(member).__name__ in ("member_descriptor", "_tuplegetter")
    told = inspect.getdoc(member) or ""
    if is_slot or isinstance(member, type) or not told or INTERNAL.search(told):
        return False
    return (
        isinstance(member, property | classmethod | staticmethod)
        or inspect.isfunction(member)
        or hasattr(member, "_body")
    )


def _property(name: str, member: property) -> str:
    getter = member.fget
    kind = _shown_type(inspect.signature(getter).return_annotation) if getter else ""
    return f"- `{name}: {kind}`: {' '.join(text(inspect.getdoc(member)))}"


def _callable(name: str, value: Any) -> list[str]:
    kind = type(value).__name__
    function = getattr(value, "_body", value)
    function = getattr(function, "__func__", function)
    called = kind in ("Runner", "Server")
    told = type(value).__call__.__doc__ if called else inspect.getdoc(value)
    signatures = typing.get_overloads(function)[-1:] or [function]
    lines = [*_fenced(_signature(name, signatures[0], kind)), "", *text(told)]
    if kind in AWAITED:
        lines += ["", f"Awaited: `{name}.aio(…)`."]
    elif kind in FLOWS:
        lines += ["", f"Blocking: `for … in {name}(…)`; awaited: `async for … in {name}.aio(…)`."]
    return [*lines, ""]


def _signature(name: str, function: Callable[..., Any], kind: str = "") -> str:
    """A signature in one line, or one parameter a line where it is long."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return name
    factories = _factories(function)
    told, marked = [], False
    for each in signature.parameters.values():
        if each.name in ("self", "cls"):
            continue
        if each.kind is each.KEYWORD_ONLY and not marked:
            told.append("*")
        marked = marked or each.kind in (each.KEYWORD_ONLY, each.VAR_POSITIONAL)
        told.append(_parameter(each, factories))
    made = isinstance(function, type) or signature.return_annotation is inspect.Signature.empty
    returns = "" if made else f" -> {_returned(function, signature, kind)}"
    if inspect.iscoroutinefunction(function) and kind not in AWAITED:
        name = f"async {name}"
    line = f"{name}({', '.join(told)}){returns}"
    if len(line) <= WIDTH:
        return line
    return "\n".join([f"{name}(", *(f"    {each}," for each in told), f"){returns}"])


def _returned(function: Callable[..., Any], signature: inspect.Signature, kind: str) -> str:
    annotation = _shown_type(signature.return_annotation)
    body = getattr(function, "__wrapped__", None)
    yielded = re.fullmatch(r"Async(?:Generator|Iterator)\[(.+?)(?:, None)?\]", annotation)
    if yielded and (kind in FLOWS or inspect.isasyncgenfunction(body)):
        what = "Iterator" if kind in FLOWS else "AsyncContextManager"
        return f"{what}[{yielded.group(1)}]"
    if inspect.isgeneratorfunction(body):
        return annotation.replace("Iterator", "ContextManager")
    return annotation


def _parameter(parameter: inspect.Parameter, factories: dict[str, str]) -> str:
    stars = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
    shown = stars + parameter.name
    if parameter.annotation is not parameter.empty:
        shown += f": {_shown_type(parameter.annotation)}"
    if parameter.default is not parameter.empty:
        shown += f" = {factories.get(parameter.name) or _shown(parameter.default)}"
    return shown


def _factories(function: Callable[..., Any]) -> dict[str, str]:
    """What a dataclass's default factories make, by field."""
    if not dataclasses.is_dataclass(function):
        return {}
    return {
        each.name: _shown(each.default_factory())
        for each in dataclasses.fields(function)
        if each.default_factory is not dataclasses.MISSING
    }


def _shown(value: Any) -> str:
    if isinstance(value, enum.Enum):
        return f"{type(value).__name__}.{value.name}"
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        changed = [
            f"{each.name}={getattr(value, each.name)!r}"
            for each in dataclasses.fields(value)
            if each.init and getattr(value, each.name) != each.default
        ]
        inside = ", ".join(changed)
        return f"{type(value).__name__}({inside if len(inside) < WIDTH else '…'})"
    found = re.sub(
        r"\b(?:callmesh\w*|typing|datetime|collections\.abc)\.(?:\w+\.)*", "", repr(value)
    )
    assert " at 0x" not in found, found
    return found


def _shown_type(annotation: Any) -> str:
    if isinstance(annotation, str):
        return annotation.replace('"', "").replace("Any | None", "Any")
    return getattr(annotation, "__name__", None) or _shown(annotation)


def _fenced(code: str) -> list[str]:
    return ["```python", *code.splitlines(), "```"]
