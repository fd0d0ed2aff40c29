"""`get io`: what a run was given and what it returned, whole."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from callmesh import _blobs
from callmesh._sync import bridge
from callmesh.cli import output
from callmesh.values import load_json
from callmeshpb.v1 import common_pb2, scheduler_pb2

_MESH = "callmesh://"


def show(found: scheduler_pb2.Run) -> None:
    """Print inputs and outputs as JSON, large values included."""
    output.show_json({"inputs": _inputs(found), "outputs": _outputs(found)})


def write(found: scheduler_pb2.Run, folder: Path) -> None:
    """Write `inputs.json`, `outputs.json` and the files that these name, into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in (("inputs", _inputs(found)), ("outputs", _outputs(found))):
        path = folder / f"{name}.json"
        path.write_text(json.dumps(value, ensure_ascii=False, indent=2) + "\n")
        output.data(str(path))
        for number, each in enumerate(_references(value)):
            output.data(_downloaded(each, folder / name / str(number)))


def _inputs(found: scheduler_pb2.Run) -> dict[str, Any]:
    whole = _fetched(list(found.inputs.values()))
    return dict(sorted(zip(found.inputs, map(load_json, whole), strict=True)))


def _outputs(found: scheduler_pb2.Run) -> Any:
    values = [load_json(each) for each in _fetched(found.outputs)]
    return values if found.outputs_is_tuple else next(iter(values), None)


def _fetched(values: Sequence[common_pb2.Value]) -> list[common_pb2.Value]:
    return bridge().run(_blobs.fetched(values))


def _references(value: Any) -> Iterator[dict[str, Any]]:
    """The files and directories in a value."""
    if isinstance(value, list):
        for each in value:
            yield from _references(each)
    elif isinstance(value, dict):
        if str(value.get("path", "")).startswith(_MESH) and "format" in value:
            yield value
        else:
            for each in value.values():
                yield from _references(each)


def _downloaded(reference: dict[str, Any], folder: Path) -> str:
    from callmesh.io import Dir, File

    name = Path(reference.get("name") or "content").name
    if "size" in reference:
        return File(**reference).download_sync(folder / name)
    return Dir(**reference).download_sync(folder / name)
