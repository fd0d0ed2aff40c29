"""`override` of a task, declared or deployed, reaches its run."""

from __future__ import annotations

from pathlib import Path

from mesh import Mesh

TASKS = """
import os
import callmesh as flyte
env = flyte.TaskEnvironment(name="overridden")

@env.task
async def show(name: str) -> str:
    return os.environ.get(name, "none")

@env.task
async def parent() -> list[str]:
    asked = show.override(secrets=[flyte.Secret("over_key", as_env_var="OVER_KEY")])
    return [await asked("OVER_KEY"), await show("OVER_KEY")]

@env.task(cache="auto")
async def kept(x: int) -> float:
    import time
    return time.time()
"""
HEAD = """
import sys, time
sys.path.insert(0, sys.argv[1])
import callmesh as flyte
from callmesh.remote import Task, Run
import over
flyte.init_from_config()
secret = flyte.Secret("over_key", as_env_var="OVER_KEY")
def waiting(run):
    for _ in range(100):
        found = Run.get(run.name)
        if "waiting" in str(found.phase).lower():
            return found.action.message
        time.sleep(0.1)
"""
DECLARED = """
run = flyte.run(over.show.override(secrets=secret, short_name="shown"), "OVER_KEY")
print(run.result(), run.pb2.short_name)
print(flyte.run(over.parent).result())
huge = flyte.run(over.show.override(resources=flyte.Resources(memory="900Ti")), "x")
print("memory, and" in waiting(huge))
huge.abort()
"""
DEPLOYED = """
flyte.deploy(over.env)
show, kept = Task.get("overridden.show"), Task.get("overridden.kept")
run = flyte.run(show.override(secrets=secret, short_name="again"), name="OVER_KEY")
print(run.result(), run.pb2.short_name)
huge = flyte.run(show.override(resources=flyte.Resources(memory="900Ti")), name="x")
print("memory, and" in waiting(huge))
huge.abort()
first = flyte.run(kept, x=1).result()
print(flyte.run(kept, x=1).result() == first)
print(flyte.run(kept.override(cache="disable"), x=1).result() == first)
print(flyte.run(kept.override(cache="auto"), x=1).result() == first)
own = show.override(cache=flyte.Cache("override", version_override="2"))
print([bool(flyte.run(own, name="y").wait() or 0) for _ in range(2)])
try:
    flyte.run(show.override(cache="auto"), name="y")
except ValueError as problem:
    print(problem)
"""


def script(mesh: Mesh, tmp_path: Path, body: str) -> list[str]:
    (tmp_path / "over.py").write_text(TASKS)
    path = tmp_path / "script.py"
    path.write_text(HEAD + body)
    return mesh.python(path, str(tmp_path)).splitlines()


def test_of_a_declared_task(shared_mesh: Mesh, tmp_path: Path) -> None:
    shared_mesh.cli("create", "secret", "over_key", stdin="hidden")
    assert script(shared_mesh, tmp_path, DECLARED) == [
        "hidden shown",
        "['hidden', 'none']",
        "True",
    ]


def test_of_a_deployed_task(shared_mesh: Mesh, tmp_path: Path) -> None:
    shared_mesh.cli("create", "secret", "over_key", stdin="hidden")
    *printed, refused = script(shared_mesh, tmp_path, DEPLOYED)
    assert printed[:5] == ["hidden again", "True", "True", "False", "True"]
    assert refused.startswith("deployed task `overridden.show` has no such `cache`")
    assert 'Cache("override", version_override="1")' in refused
