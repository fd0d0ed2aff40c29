"""What a `RunOutput` stands for: of a run by name, of a task in any version, the newest, one."""

from __future__ import annotations

from pathlib import Path

import pytest
from mesh import Mesh

pytestmark = pytest.mark.slow

SCRIPT = """
import fastapi
import callmesh as flyte
from callmesh import errors
from callmesh.app import Parameter, RunOutput
from callmesh.app.extras import FastAPIAppEnvironment

app = fastapi.FastAPI()
tasks = flyte.TaskEnvironment(name="run-outputs")
TASK = "run-outputs.pair"

@tasks.task
def pair(x: int) -> tuple[int, dict[str, str]]:
    if x < 0:
        raise ValueError("negative")
    return x, {"path": f"models/{x}"}

def of(**wanted) -> str:
    wanted = RunOutput(type="string", **wanted)
    env = FastAPIAppEnvironment(
        name="run-outputs-app", app=app, parameters=[Parameter("p", wanted)]
    )
    globals()["env"] = env
    try:
        (plan,) = flyte.deploy(env, dry_run=True)
    except errors.ParameterMaterializationError as problem:
        return str(problem).removeprefix("parameter `p` of app `run-outputs-app`")
    return plan.envs[env.name].deployed_app.pb2.spec.parameters[0].text

if __name__ == "__main__":
    flyte.init_from_config()
    print(of(task_name=TASK))
    print(of(run_name="rnever"))
    runs = {}
    for version, x in (("v1", 1), ("v2", 2)):
        flyte.deploy(tasks, version=version)
        runs[version] = flyte.run(flyte.remote.Task.get(TASK, version=version), x=x)
        runs[version].wait()
    flyte.deploy(tasks, version="v3")
    failed = flyte.run(flyte.remote.Task.get(TASK), x=-1)
    failed.wait()
    print(of(run_name=runs["v1"].name), of(run_name=runs["v1"].name, getter=(1, "path")))
    print(of(task_name=TASK), of(task_name=TASK, task_version="v1"))
    print(of(task_name=TASK, task_auto_version="latest"))
    print(of(task_name=TASK, task_version="v9"))
    print(of(run_name=failed.name).replace(failed.name, "NAME"))
    print(of(run_name=runs["v1"].name, getter=(1, "none")).replace(runs["v1"].name, "NAME"))
    print(of(run_name=runs["v1"].name, getter=(1,)).replace(runs["v1"].name, "NAME"))
"""

NEVER = " is the output of run `rnever`, which does not exist"


def test_run_outputs_by_run_and_by_task(shared_mesh: Mesh, tmp_path: Path) -> None:
    script = tmp_path / "run_outputs.py"
    script.write_text(SCRIPT)
    task = " is the output of task `run-outputs.pair`"
    kinds = "a string, a number, a boolean, a `File` or a `Dir`"
    assert shared_mesh.python(script).splitlines() == [
        f"{task}, which has not succeeded yet: run it first",
        f"{NEVER}: list what there is with `callmesh get runs`",
        "1 models/1",
        "2 1",
        f"{task} in version `v3`, which has not succeeded yet: run it first",
        f"{task} in version `v9`, which has not succeeded yet: run it first",
        " is the output of run `NAME`, which has ended as failed: it must have succeeded",
        ": the output of run `NAME` has no 'none'",
        f": the output of run `NAME` is a `dict`: must be {kinds}",
    ]
