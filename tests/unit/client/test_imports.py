"""What an import costs: which modules it loads, and that it touches nothing else."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = {
    "asyncio",
    "cloudpickle",
    "fastapi",
    "google.protobuf",
    "grpc",
    "pydantic",
    "rich",
    "uvicorn",
    "yaml",
}
DECLARATIONS = """
import callmesh as flyte
image = flyte.Image.from_debian_base(python_version=(3, 11)).with_pip_packages("httpx")
env = flyte.TaskEnvironment(
    name="light", image=image, resources=flyte.Resources(cpu=1, memory="1Gi"), secrets="key"
)
@env.task(retries=flyte.RetryStrategy(2), timeout=5)
async def one(x: int) -> int:
    return x
app = flyte.app.AppEnvironment(
    name="light-app", args=["true"], depends_on=[env],
    inputs=[flyte.app.Input(name="a", value=flyte.app.AppEndpoint(app_name="b"))],
)
"""


def loaded(code: str) -> set[str]:
    report = "import sys, json; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{report}"], capture_output=True, text=True, check=True
    )
    return set(json.loads(done.stdout))


def test_the_package_itself_loads_none_of_its_modules() -> None:
    ours = {name for name in loaded("import callmesh") if name.startswith("callmesh")}
    # What refuses the names that there are not has to be there before they are asked for.
    assert ours == {"callmesh", "callmesh._flyte_only"}


@pytest.mark.parametrize("code", ["import callmesh", DECLARATIONS])
def test_declaring_loads_nothing_heavy(code: str) -> None:
    assert not loaded(code) & HEAVY


@pytest.mark.parametrize("name", ["deploy", "map", "run", "serve"])
def test_a_verb_stays_a_verb_when_its_module_is_imported(name: str) -> None:
    code = f"""
import importlib, types, callmesh
importlib.import_module("callmesh.{name}")
assert not isinstance(callmesh.{name}, types.ModuleType)
from callmesh import {name}
assert callable({name}) and not isinstance({name}, types.ModuleType)
"""
    assert f"callmesh.{name}" in loaded(code)


def test_modules_are_imported_by_their_names() -> None:
    loaded("import callmesh.app, callmesh.app.extras, callmesh.remote, callmesh.errors")
    loaded("from callmesh.app.extras import FastAPIAppEnvironment")
    loaded("import callmesh.io, callmesh as flyte; flyte.io.File; flyte.errors; flyte.remote.Task")


@pytest.mark.parametrize(
    "code",
    [
        "from callmesh.ai.mcp import MCPAppEnvironment",
        "from callmesh.ai.chat import AgentChatAppEnvironment",
        "from callmesh.extras.webhooks import WebhookAppEnvironment",
        "import callmesh.connectors",
    ],
)
def test_what_is_not_supported_says_so_by_name(code: str) -> None:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "` is not supported: " in done.stderr or ") is not supported: " in done.stderr
    assert "`callmesh." in done.stderr
