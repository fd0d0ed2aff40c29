"""Parameter values seen from inside an app: scalars, run outputs, a private endpoint."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from mesh import Mesh

pytestmark = pytest.mark.slow

PROJECT = """
import os
import fastapi
import callmesh as flyte
from callmesh.app import AppEndpoint, Parameter, RunOutput
from callmesh.app.extras import FastAPIAppEnvironment

tasks = flyte.TaskEnvironment(name="surface-parameters-tasks")

@tasks.task
def answer(seed: int) -> int:
    return seed + 1

back_app, front_app = fastapi.FastAPI(), fastapi.FastAPI()
back = FastAPIAppEnvironment(name="surface-back", app=back_app, requires_auth=False)

NAMES = ("text", "whole", "part", "flag", "by_run", "by_task", "inner", "outer")

@front_app.get("/")
def show() -> dict:
    found = {name: flyte.app.get_parameter(name) for name in NAMES}
    return found | {"variable": os.environ["SURFACE_TEXT"], "served": os.environ["SURFACE_SERVED"]}

if __name__ == "__main__":
    flyte.init_from_config()
    flyte.deploy(tasks)
    run = flyte.run(answer, seed=41)
    run.wait()
    front = FastAPIAppEnvironment(
        name="surface-front", app=front_app, requires_auth=False, depends_on=[back],
        parameters=[
            Parameter("text", "words", env_var="SURFACE_TEXT"),
            Parameter("whole", 3),
            Parameter("part", 0.5),
            Parameter("flag", True),
            Parameter("by_run", RunOutput(type="string", run_name=run.name)),
            Parameter("by_task", RunOutput(type="string", task_name=answer.name)),
            Parameter("inner", AppEndpoint("surface-back")),
            Parameter("outer", AppEndpoint("surface-back", public=True)),
        ],
    )
    flyte.with_servecontext(env_vars={"SURFACE_SERVED": "yes"}).serve(front)
else:
    front = FastAPIAppEnvironment(name="surface-front", app=front_app)
"""


def test_an_app_finds_its_parameters(shared_mesh: Mesh, tmp_path: Path) -> None:
    script = tmp_path / "surface_parameters.py"
    script.write_text(PROJECT)
    shared_mesh.python(script)
    status, body = shared_mesh.get("surface-front")
    assert status == 200, body
    found = json.loads(body)
    endpoint = found.pop("inner")
    port = shared_mesh.record["ingress_port"]
    assert found.pop("outer") == f"http://surface-back.localhost:{port}"
    assert found == {
        "text": "words",
        "whole": "3",
        "part": "0.5",
        "flag": "true",
        "by_run": "42",
        "by_task": "42",
        "variable": "words",
        "served": "yes",
    }
    assert endpoint.startswith("http://")
    assert endpoint != shared_mesh.ingress
