"""`cache`: an equal call does not execute, and says so; also by override, and in local mode."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import httpx
from mesh import Mesh

PROJECTS = Path(__file__).parent / "projects"
FILE = str(PROJECTS / "kept.py")
HEAD = f"""
import sys
sys.path.insert(0, {str(PROJECTS)!r})
import time
import callmesh as flyte
from callmesh.remote import Run, Task
import kept
log = sys.argv[1]
"""


def script(mesh: Mesh, tmp_path: Path, body: str, log: Path) -> list[str]:
    path = tmp_path / "script.py"
    path.write_text(f"{HEAD}\nflyte.init_from_config()\n{body}")
    return mesh.python(path, str(log)).splitlines()


def executed(log: Path) -> list[str]:
    return log.read_text().splitlines() if log.exists() else []


def test_an_equal_call_does_not_execute_and_says_so(shared_mesh: Mesh, tmp_path: Path) -> None:
    log = tmp_path / "log"
    arguments = ("--x", "4", "--log", str(log))
    first = json.loads(shared_mesh.cli("run", FILE, "double", *arguments, "-o", "json").stdout)
    again = shared_mesh.cli("run", FILE, "double", *arguments, "--by", "2")
    assert (again.stdout, executed(log)) == ("8\n", ["double 4"])
    said = f"not executed: run `{first['name']}` had equal inputs"
    assert said in " ".join(again.stderr.split())
    name = again.stderr.split()[1]
    record = shared_mesh.json("get", "run", name)
    assert (record["phase"], record["outputs"], record["attempts"], record["cached_from"]) == (
        "succeeded",
        8,
        [],
        first["name"],
    )
    assert first["cached_from"] is None
    base = f"http://127.0.0.1:{shared_mesh.record['ingress_port']}"
    assert "<td>cached</tr>" in httpx.get(f"{base}/").text
    assert f"{first['name']}</a>, which had equal inputs" in httpx.get(f"{base}/runs/{name}").text
    assert first["name"] in shared_mesh.cli("describe", "run", name).stdout
    shared_mesh.cli("run", FILE, "double", *arguments, "--by", "3")
    assert executed(log) == ["double 4", "double 4"]


def test_policies_choose_what_is_equal(shared_mesh: Mesh, tmp_path: Path) -> None:
    log = tmp_path / "log"
    body = """
print(flyte.run(kept.named, {"a": 1, "b": 2}, log).result())
run = flyte.run(kept.named, {"b": 2, "a": 1}, log + "x")
print(run.result(), bool(run.action.cached_from))
flyte.run(kept.short, log).wait(); flyte.run(kept.short, log).wait()
time.sleep(1.5)
flyte.run(kept.short, log).wait()
for _ in range(2):
    flyte.run(kept.of_environment, log).wait()
    flyte.run(kept.fails, log).wait()
    print(len(flyte.run(kept.large, log).result()))
flyte.deploy(kept.env)
print(flyte.run(Task.get("kept.named"), data={"a": 3}, log=log).result())
print(flyte.run(Task.get("kept.named"), data={"a": 3}, log=log).result())
"""
    assert script(shared_mesh, tmp_path, body, log) == [
        "(3, 'sum')",
        "(3, 'sum') True",
        "11000000",
        "11000000",
        "(3, 'sum')",
        "(3, 'sum')",
    ]
    counted = executed(log)
    assert {each: counted.count(each) for each in counted} == {
        "named": 2,
        "short": 2,
        "of_environment": 1,
        "fails": 2,
        "large": 1,
    }


def test_a_run_may_overwrite_or_leave_the_cache_alone_with_its_children(
    shared_mesh: Mesh, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    body = """
def run(times, **options):
    print(flyte.with_runcontext(**options).run(kept.parent, log, times).result())
    print(open(log).read().split().count("double")); open(log, "w").close()
run(3)
run(2)
run(2, overwrite_cache=True)
run(2)
run(2, disable_run_cache=True)
print(flyte.run(kept.overriding, log).result(), open(log).read().split())
"""
    assert script(shared_mesh, tmp_path, body, log) == [
        *("[10, 10, 10]", "1", "[10, 10]", "0"),
        *("[10, 10]", "2", "[10, 10]", "0", "[10, 10]", "2"),
        "[12, 12, 1, 1] ['double', '6', 'double', '6', 'not_kept']",
    ]


def test_kept_results_outlive_the_mesh(mesh: Mesh, tmp_path: Path) -> None:
    log = tmp_path / "log"
    arguments = ("run", FILE, "double", "--x", "1", "--log", str(log))
    mesh.cli(*arguments)
    mesh.down()
    mesh.up()
    assert mesh.cli(*arguments).stdout == "2\n"
    assert executed(log) == ["double 1"]


def test_local_mode_keeps_results_too(tmp_path: Path) -> None:
    log = tmp_path / "log"
    path = tmp_path / "script.py"
    path.write_text(
        f"""{HEAD}
run = flyte.run(kept.double, 4, log)
print(run.result(), bool(run.cached_from))
flyte.run(kept.parent, log, 2)
try: flyte.run(kept.fails, log)
except flyte.errors.RuntimeUserError: pass
print(flyte.with_runcontext(overwrite_cache=True).run(kept.double, 4, log).result())
print(flyte.with_runcontext(disable_run_cache=True).run(kept.parent, log, 1).result())
"""
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith("CALLMESH_")}
    for cached in (False, True):
        done = subprocess.run(
            [sys.executable, path, log],
            env={**environment, "XDG_STATE_HOME": str(tmp_path / "state")},
            capture_output=True,
            text=True,
            timeout=90,
            check=True,
        )
        assert done.stdout.splitlines() == [f"8 {cached}", "8", "[10]"]
    first = ["double 4", "parent", "double 5", "fails", "double 4", "parent", "double 5"]
    assert executed(log) == [*first, "parent", "fails", "double 4", "parent", "double 5"]


def test_serialize_has_equal_runs_wait_and_share(shared_mesh: Mesh, tmp_path: Path) -> None:
    log = tmp_path / "log"
    body = """
runs = [flyte.run(kept.one_at_a_time, 7, log) for _ in range(5)]
print([run.result() for run in runs], len({run.action.cached_from for run in runs}))
print(flyte.run(kept.one_at_a_time, 7, log).result())
print(flyte.run(kept.many, log).result())
"""
    assert script(shared_mesh, tmp_path, body, log) == [
        "[70, 70, 70, 70, 70] 2",
        "70",
        "[30, 30, 30, 30]",
    ]
    assert executed(log) == ["one 7", "one 3"]


def test_serialize_tries_the_next_when_the_first_fails(shared_mesh: Mesh, tmp_path: Path) -> None:
    log = tmp_path / "log"
    body = """
runs = [flyte.run(kept.one_at_a_time, 8, log, 1) for _ in range(3)]
for run in runs:
    run.wait()
print(sorted(str(run.phase) for run in runs))
"""
    (phases,) = script(shared_mesh, tmp_path, body, log)
    assert phases.lower().count("succeeded") == 2
    assert executed(log) == ["one 8", "one 8"]
