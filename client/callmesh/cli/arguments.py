"""A task's arguments on the command line: parsed by its signature, and explained."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from callmesh.cli import output
from callmesh.interface import mismatch
from callmesh.values import load_json
from callmeshpb.v1 import scheduler_pb2

_KINDS = {"file": "file", "dir": "folder"}
_TRUE, _FALSE = ("true", "yes", "on"), ("false", "no", "off")
_SECTION = re.compile(r"(Args|Arguments|Parameters|Returns|Raises|Yields|Examples?|Notes?):\s*$")
_ENTRY = re.compile(r"(?P<name>\w+)\s*(\([^)]*\))?:\s*(?P<text>.*)")


@dataclass(frozen=True, slots=True)
class LocalPath:
    """A file or folder of this machine, given for a `File` or a `Dir`."""

    kind: str
    path: Path

    @classmethod
    def found(cls, kind: str, text: str) -> LocalPath:
        """One that is there. Raises `ValueError`."""
        path = Path(text).expanduser()
        if not (path.is_file() if kind == "file" else path.is_dir()):
            raise ValueError(f"must be a {_KINDS[kind]} of this machine, and `{text}` is none")
        return cls(kind, path)


def stored(given: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments with each file and folder stored in the mesh, or in local mode's folder."""
    if not any(isinstance(each, LocalPath) for each in given.values()):
        return dict(given)
    from callmesh.io import Dir, File

    kinds: dict[str, type[File] | type[Dir]] = {"file": File, "dir": Dir}
    return {
        name: kinds[each.kind].from_local_sync(each.path).model_dump(mode="json")
        if isinstance(each, LocalPath)
        else each
        for name, each in given.items()
    }


def parse(
    interface: scheduler_pb2.TaskInterface, tokens: Sequence[str], usage: str
) -> dict[str, Any]:
    """The arguments as JSON values, by parameter.

    ``--app_url X``, ``--app-url X`` and ``--app-url=X`` are the same; a boolean
    needs no value, and ``--no-X`` makes it false. A path that is given for a
    `File` or a `Dir` is a `LocalPath`: see `stored`. Ends the command with every
    mistake at once.
    """
    parameters = {each.name: each for each in interface.parameters}
    values: dict[str, Any] = {}
    named: set[str] = set()
    mistakes: list[str] = []
    waiting = list(tokens)
    while waiting:
        token = waiting.pop(0)
        if not token.startswith("--") or token == "--":
            mistakes.append(f"`{token}` has no name: arguments are given as `--name value`")
            continue
        spelled, has_value, text = token[2:].partition("=")
        name, negated = _name(spelled, parameters)
        if name is None and not interface.accepts_extra:
            known = ", ".join(f"--{each}" for each in parameters) or "none"
            mistakes.append(f"`--{spelled}` is not an argument of this task: it takes {known}")
            if not has_value and waiting and not waiting[0].startswith("--"):
                waiting.pop(0)
            continue
        name = name or spelled.replace("-", "_")
        if name in named:
            mistakes.append(f"`--{spelled}` is given twice")
        named.add(name)
        parameter = parameters.get(name)
        if not has_value:
            if _is_flag(parameter) and (not waiting or waiting[0].startswith("--")):
                values[name] = not negated
                continue
            if not waiting:
                mistakes.append(f"`--{spelled}` needs a value")
                continue
            text = waiting.pop(0)
        try:
            values[name] = value_of(parameter, text)
        except ValueError as problem:
            mistakes.append(f"`--{spelled}` {problem}")
    mistakes += [
        f"`--{each.name}` is missing ({each.type or 'any'})"
        for each in interface.parameters
        if each.required and each.name not in named
    ]
    if mistakes:
        output.stop("\n       ".join(mistakes), hint=f"see `{usage} --help`", code=output.USAGE)
    return values


def value_of(parameter: scheduler_pb2.TaskParameter | None, text: str) -> Any:
    """One value: text where the type says so, JSON otherwise. Raises `ValueError`."""
    schema = json.loads(parameter.schema or "{}") if parameter is not None else {}
    kind = parameter.type if parameter is not None else "any"
    if schema.get("x-python-object"):
        raise ValueError(f"is a `{kind}`, which cannot be written on a command line")
    if schema.get("type") == "string" and not mismatch(schema, text):
        return text
    word = text.strip().lower()
    kind_of_path = _is_path(schema)
    if kind_of_path and not text.lstrip().startswith("{") and word not in ("none", "null"):
        return {"path": text} if "://" in text else LocalPath.found(kind_of_path, text)
    candidates: list[Any] = []
    if word in _TRUE + _FALSE:
        candidates.append(word in _TRUE)
    if word in ("none", "null"):
        candidates.append(None)
    with contextlib.suppress(ValueError):
        candidates.append(json.loads(text))
    candidates.append(text)
    for candidate in candidates:
        if not schema or not mismatch(schema, candidate):
            return candidate
    if schema.get("type") in ("object", "array"):
        raise ValueError(f"must be `{kind}` written as JSON, not `{text}`")
    raise ValueError(f"must be `{kind}`, not `{text}`")


def explain(task: str, interface: scheduler_pb2.TaskInterface, docs: str, usage: str) -> list[str]:
    """The help of a task: what it does, its arguments with types and docs, its result."""
    about, described = split_docs(docs)
    lines = [f"Usage: {usage} [--ARGUMENT VALUE]...", "", *output.wrapped(f"Task `{task}`.", "  ")]
    if about:
        lines += ["", *output.wrapped(about, "  ")]
    if interface.parameters:
        lines += ["", "Arguments:"]
    width = max((len(each.name) + len(each.type) for each in interface.parameters), default=0) + 8
    width = min(width, 38)
    for each in interface.parameters:
        head = f"  --{each.name} {each.type or 'any'}"
        said = " ".join(part for part in (described.get(each.name, ""), _default(each)) if part)
        body = output.wrapped(said, " " * width)
        if len(head) + 1 < width and body:
            lines.append(f"{head:<{width}}{body[0].lstrip()}")
            body = body[1:]
        else:
            lines.append(head)
        lines += body
    if interface.result_type:
        lines += ["", f"Returns: {interface.result_type}"]
    return lines


def split_docs(docs: str) -> tuple[str, dict[str, str]]:
    """A docstring's text, and what its ``Args:`` section says of each parameter."""
    about: list[str] = []
    described: dict[str, str] = {}
    section = current = ""
    for line in docs.splitlines():
        if match := _SECTION.match(line.strip()):
            section, current = match.group(1), ""
        elif section in ("Args", "Arguments", "Parameters"):
            if entry := _ENTRY.match(line.strip()):
                current = entry["name"]
                described[current] = entry["text"]
            elif current:
                described[current] = f"{described[current]} {line.strip()}".strip()
        elif not section:
            about.append(line)
    return "\n".join(about).strip(), described


def _name(
    spelled: str, parameters: Mapping[str, scheduler_pb2.TaskParameter]
) -> tuple[str | None, bool]:
    """The parameter that is meant, and whether it is negated."""
    for text in (spelled, spelled.replace("-", "_")):
        if text in parameters:
            return text, False
    for prefix in ("no-", "no_"):
        name = spelled.removeprefix(prefix).replace("-", "_")
        if spelled.startswith(prefix) and _is_flag(parameters.get(name)):
            return name, True
    return None, False


def _is_path(schema: Mapping[str, Any]) -> str:
    """ "file" or "dir" where the type is a `File` or a `Dir`, or one of them or None."""
    choices = [schema, *schema.get("anyOf", ())]
    named = (each.get("$ref", "").rpartition("/")[2] for each in choices)
    definitions = [schema.get("$defs", {}).get(each, {}) for each in named if each]
    marks = [each.get("x-callmesh", "") for each in (*choices, *definitions)]
    return next((each for each in marks if each in _KINDS), "")


def _is_flag(parameter: scheduler_pb2.TaskParameter | None) -> bool:
    return parameter is not None and json.loads(parameter.schema or "{}").get("type") == "boolean"


def _default(parameter: scheduler_pb2.TaskParameter) -> str:
    if parameter.required:
        return "[required]"
    if not parameter.HasField("default_value"):
        return ""
    text = json.dumps(load_json(parameter.default_value), ensure_ascii=False)
    return f"[default: {text}]" if len(text) <= 60 else ""
