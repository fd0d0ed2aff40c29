"""Retries, limits, context, steps, `rerun`, lists: the verbs of runs on a real mesh."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

from mesh import Mesh

PROJECTS = Path(__file__).parent / "projects"
FILE = str(PROJECTS / "control.py")
HEAD = f"""
import sys
sys.path.insert(0, {str(PROJECTS)!r})
import datetime
import callmesh as flyte
from callmesh.remote import Run, Task, TimeFilter
import control
log = sys.argv[1]
flyte.init_from_config()

def told(start):
    try:
        print(start())
    except Exception as problem:
        print(type(problem).__name__, str(problem).partition("failed: ")[2].partition(chr(10))[0]
              or problem)
"""


def script(mesh: Mesh, tmp_path: Path, body: str) -> list[str]:
    path = tmp_path / "script.py"
    path.write_text(f"{HEAD}\n{body}")
    return mesh.python(path, str(tmp_path / "log")).splitlines()


def test_retries_and_limits(shared_mesh: Mesh, tmp_path: Path) -> None:
    body = """
told(flyte.run(control.flaky, log).result)
told(flyte.run(control.hopeless, log).result)
told(flyte.run(control.slow).result)
told(flyte.run(control.late).result)
told(flyte.run(control.slow.override(timeout=0.3, retries=1)).result)
"""
    assert script(shared_mesh, tmp_path, body) == [
        "3",
        "TaskFailedError NonRecoverableError: no way",
        "MaxRuntimeExceededError MaxRuntimeExceeded: ran longer than its `max_runtime` of 0.5 s",
        "DeadlineExceededError DeadlineExceeded: not ended within its deadline of 0.5 s",
        "MaxRuntimeExceededError MaxRuntimeExceeded: ran longer than its `max_runtime` of 0.3 s",
    ]
    *attempts, hopeless = (tmp_path / "log").read_text().splitlines()
    numbers, keys, times = zip(*(line.split() for line in attempts), strict=True)
    assert (numbers, len(set(keys)), hopeless) == (("1", "2", "3"), 1, "hopeless")
    assert all(float(later) - float(sooner) >= 0.2 for sooner, later in itertools.pairwise(times))


def test_context_travels_to_child_runs(shared_mesh: Mesh, tmp_path: Path) -> None:
    body = """
import json
context = flyte.with_runcontext(custom_context={"a": "1"}, env_vars={"FROM_RUN": "yes"})
run = context.run(control.parent)
print(json.dumps(run.result()))
print([each.pb2.group for each in Run.listall(parent=run.name)])
again = context.rerun(run.name)
print(again.result() == run.result(), again.name != run.name)
"""
    found, groups, again = script(shared_mesh, tmp_path, body)
    assert json.loads(found) == {
        "child": {
            "custom": {"a": "1", "b": "2"},
            "variable": "yes",
            "own": "here",
            "mode": "remote",
            "task": "control.child",
            "cluster": True,
            "project": "default",
        },
        "after": {"a": "1"},
        "refused": (
            "sync task `control.sync_child` was called from async code, which it would block: "
            "`await sync_child.aio(…)` instead"
        ),
    }
    assert (groups, again) == ("['first']", "True True")


def test_a_retry_does_not_execute_a_step_again(shared_mesh: Mesh, tmp_path: Path) -> None:
    body = """
run = flyte.run(control.traced, log)
print(run.result())
print(sorted(each.pb2.step for each in Run.listall(parent=run.name)))
print(run.name)
"""
    result, steps, name = script(shared_mesh, tmp_path, body)
    assert result == (
        "[[{1: datetime.date(2026, 1, 1)}, {2: datetime.date(2026, 1, 2)}, "
        "{1: datetime.date(2026, 1, 1)}], [1], [0, 1, 2], True, "
        "'traced function `nesting` called task `control.child`: a traced function is one step; "
        "call the task from the task itself, or leave `@trace` out']"
    )
    log = (tmp_path / "log").read_text().splitlines()
    assert log[:6] == ["step 1", "step 2", "step 1", "sync_step", "failing", "caught"]
    assert log[6:] == ["failing", "caught"]
    assert steps == str(
        ["_end_of_sleep", "_time", "failing", "failing", "nesting"] + ["step"] * 3 + ["sync_step"]
    )
    listed = [each["name"] for each in shared_mesh.json("get", "runs")]
    assert name in listed
    assert not [each for each in listed if each.startswith(f"{name}-")]
    assert "sync_step (traced)" in shared_mesh.cli("describe", "run", name).stdout


def test_errors_among_results_raise_when_computed_with(shared_mesh: Mesh) -> None:
    done = shared_mesh.cli("run", FILE, "mapped")
    assert json.loads(done.stdout) == ["int", "TaskFailedError", "int", "ValueError: two"]


def test_runs_are_listed_and_run_again(shared_mesh: Mesh, tmp_path: Path) -> None:
    body = """
before = datetime.datetime.now()
run = flyte.run(control.square, 7); run.wait()
failed = flyte.run(control.square, 2); failed.wait()
def names(**options):
    return [each.name for each in Run.listall(task_name="control.square", **options)]
print(names(limit=2) == [failed.name, run.name], names(in_phase="failed", limit=1) == [failed.name])
print(names(created_at=TimeFilter(after=before)) == [failed.name, run.name],
      run.name not in names(created_at=TimeFilter(before=before)),
      names(updated_at=TimeFilter(after=before), limit=1) == [failed.name])
print(names(task_version="other"), names(created_by_subject="user", limit=1) == [failed.name])
told(lambda: names(sort_by=("name", "asc")))
told(lambda: names(with_labels={"a": "b"}))
again = flyte.with_runcontext(name="named-again").rerun(run.name)
print(flyte.rerun(run.name).result(), again.name)
told(lambda: flyte.rerun("missing"))
told(lambda: flyte.rerun(run.name, recover=True))
told(lambda: flyte.with_runcontext(nonsense=1))
told(lambda: flyte.with_runcontext(mode="hybrid"))
told(lambda: flyte.with_runcontext(dry_run=True))
print(flyte.with_runcontext(queue="fast", log_level=10).run(control.square, 3).result())
"""
    assert script(shared_mesh, tmp_path, body) == [
        "True True",
        "True True True",
        "[] True",
        (
            "UnimplementedError `sort_by` of runs must be ('created_at', 'desc'), not "
            "('name', 'asc'): sort the list"
        ),
        "UnimplementedError runs cannot be listed by `with_labels`",
        "49 named-again",
        ("RunNotFoundError there is no run `missing`: list what there is with `callmesh get runs`"),
        (
            "UnimplementedError `recover` is not supported: `rerun` executes everything; give "
            'tasks `cache="auto"` so that what succeeded is not executed again'
        ),
        "TypeError `with_runcontext` has no option `nonsense`",
        (
            'ValueError `mode` must be "local" or "remote", not \'hybrid\': callmesh has no '
            "hybrid of the two"
        ),
        (
            "UnimplementedError `dry_run` of a run is not supported: `callmesh.deploy(env, "
            "dry_run=True)` checks what a run would register"
        ),
        "9",
    ]


def test_the_command_line_runs_again_and_shows_values(shared_mesh: Mesh, tmp_path: Path) -> None:
    files = str(PROJECTS / "files.py")
    done = shared_mesh.cli("run", files, "large", "--size", "11000000")
    reference = json.loads(done.stdout)
    assert reference["bytes"] == 11_000_002
    name = done.stderr.split()[1]
    assert f"`callmesh get io {name}`" in " ".join(done.stderr.split())
    shown = json.loads(shared_mesh.cli("get", "io", name).stdout)
    assert (shown["inputs"], len(shown["outputs"])) == ({"size": 11_000_000}, 11_000_000)
    written = shared_mesh.json("run", files, "write", "--content", "hi")
    again = shared_mesh.json("rerun", written["name"])
    assert again["outputs"] == written["outputs"]
    printed = shared_mesh.cli("get", "io", again["name"], "--to", str(tmp_path / "out")).stdout
    assert [Path(line).name for line in printed.split()] == ["inputs.json", "outputs.json", "a.txt"]
    assert Path(printed.split()[-1]).read_text() == "hi"
    assert shared_mesh.cli("rerun", "missing", check=False).returncode == 1
