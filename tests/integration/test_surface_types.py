"""Every type that values may have, through real runs: of a script, by name, and child runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from mesh import Mesh

SCRIPT = """
import sys
sys.path.insert(0, {projects!r})
import callmesh as flyte
from callmesh.remote import Run, Task
flyte.init_from_config()
import kinds

flyte.deploy(kinds.env)
{body}
print("done")
"""
PROJECTS = Path(__file__).parent / "projects"


def script(mesh: Mesh, tmp_path: Path, body: str) -> list[str]:
    path = tmp_path / "script.py"
    path.write_text(SCRIPT.format(projects=str(PROJECTS), body=body))
    lines = mesh.python(path).splitlines()
    assert lines[-1] == "done"
    return lines[:-1]


def test_every_type_through_a_run_of_a_script(shared_mesh: Mesh, tmp_path: Path) -> None:
    body = """
for name, (_, values) in kinds.KINDS.items():
    for value in values:
        got = flyte.run(getattr(kinds, f"back_{name}"), value).result()
        if not kinds.same(got, value):
            print(name, repr(value), "became", repr(got))
"""
    assert script(shared_mesh, tmp_path, body) == []


def test_every_type_through_child_runs(shared_mesh: Mesh, tmp_path: Path) -> None:
    body = """
for name in kinds.KINDS:
    changed = flyte.run(kinds.through, name).result()
    if changed:
        print(name, changed)
    changed = flyte.run(kinds.through_by_name, name).result()
    if changed and name not in kinds.BY_SCHEMA:
        print(name, "by name", changed)
"""
    assert script(shared_mesh, tmp_path, body) == []


def test_types_of_a_task_by_name_come_from_its_record(shared_mesh: Mesh, tmp_path: Path) -> None:
    body = """
for name, (_, values) in kinds.KINDS.items():
    if name in kinds.BY_SCHEMA or name in kinds.ONLY_PICKLED:
        continue
    for value in values:
        run = flyte.run(Task.get(f"kinds.back_{name}"), value=value)
        for got in (run.result(), Run.get(run.name).result(), run.inputs()["value"]):
            if not kinds.same(got, value):
                print(name, repr(value), "became", repr(got))
for name in ("list_point", "model", "enum", "named_tuple"):
    value = kinds.KINDS[name][1][0]
    print(flyte.run(Task.get(f"kinds.back_{name}"), value=value).result())
"""
    assert script(shared_mesh, tmp_path, body) == [
        "[{'x': 1, 'y': 0.5}, {'x': 2, 'y': 1.5}]",
        (
            "{'inner': {'n': 1, 'tags': ['x']}, 'when': '2026-01-02T00:00:00Z', "
            "'point': {'x': 3, 'y': 0.5}, 'color': 'blue'}"
        ),
        "blue",
        "(1, 'a')",
    ]


def test_arguments_that_do_not_fit_are_named(shared_mesh: Mesh, tmp_path: Path) -> None:
    body = """
def told(start):
    try:
        start()
    except (TypeError, ValueError) as problem:
        print(type(problem).__name__, problem)

told(lambda: flyte.run(kinds.back_float, 1))
told(lambda: flyte.run(kinds.back_int, 1.0))
told(lambda: flyte.run(kinds.back_list_int, [1, "2"]))
told(lambda: flyte.run(kinds.back_int))
told(lambda: flyte.run(kinds.back_int, value=1, other=2))
told(lambda: flyte.run(Task.get("kinds.back_int"), value="x", other=2))
told(lambda: flyte.run(Task.get("kinds.back_plain"), value={"value": 1}))
"""
    assert script(shared_mesh, tmp_path, body) == [
        (
            "InputsError task `back_float` cannot be called: argument `value` must be `float`, "
            "not `int` 1"
        ),
        (
            "InputsError task `back_int` cannot be called: argument `value` must be `int`, "
            "not `float` 1.0"
        ),
        (
            "InputsError task `back_list_int` cannot be called: argument `value` must be "
            "`list[int]`, not `str` '2' at [1]"
        ),
        "InputsError task `back_int` cannot be called: argument `value` is missing",
        (
            "InputsError task `back_int` cannot be called: argument `other` is unknown "
            "(known: `value`)"
        ),
        (
            "InputsError task `kinds.back_int` cannot be called: argument `value` must be `int`, "
            "not `str` 'x'; argument `other` is unknown (known: `value`)"
        ),
        (
            "InputsError task `kinds.back_plain` cannot be called: argument `value` must be a "
            "`Plain`, which has no JSON form"
        ),
    ]


@pytest.mark.parametrize("kind", ["plain", "holder"])
def test_what_is_no_data_stays_between_tasks(shared_mesh: Mesh, tmp_path: Path, kind: str) -> None:
    body = f"""
try:
    flyte.run(Task.get("kinds.back_{kind}"), value=kinds.KINDS["{kind}"][1][0]).result()
except flyte.errors.RuntimeDataValidationError as problem:
    print(str(problem).partition("is a ")[2])
"""
    assert script(shared_mesh, tmp_path, body) == [
        (
            f"Python object that only travels between tasks (it holds `kinds.{kind.title()}`): let "
            "the task return data, a dataclass or a Pydantic model to read it here"
        )
    ]
