"""The webhook without a mesh: its tasks are those of its own module, its apps say why not."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest
from alone import run

pytestmark = pytest.mark.slow

SCRIPT = """
import httpx
import callmesh as flyte
from webhook import hook

if __name__ == "__main__":
    app = flyte.with_servecontext(mode="local").serve(hook)
    credentials = {"authorization": "Bearer any"}
    client = httpx.Client(base_url=app.endpoint, headers=credentials, timeout=60)

    def ask(method, path, **options):
        answer = client.request(method, path, **options)
        print((path, answer.status_code, answer.json()))
        return answer.json()

    ask("GET", "/health")
    ask("GET", "/me")
    name = ask("POST", "/run-task/development/default/hooked.add", json={"x": 2})["name"]
    ask("GET", f"/run/{name}/io")
    ask("POST", "/run-task/development/default/hooked.add", json={"z": 2})
    ask("POST", "/run-task/development/default/hooked.secret_sauce", json={})
    ask("GET", "/app/hook-target")
    print(("bare", httpx.get(app.endpoint + "/me").status_code, None))
    app.deactivate(wait=True)
"""


def test_tasks_of_its_module(tmp_path: Path) -> None:
    file = tmp_path / "script.py"
    file.write_text(SCRIPT)
    done = run(tmp_path, sys.executable, file)
    assert done.returncode == 0, done.stderr
    told = [ast.literal_eval(line) for line in done.stdout.splitlines() if line.startswith("(")]
    assert [status for _, status, _ in told] == [200, 200, 200, 200, 422, 403, 503, 401]
    assert told[1][2]["subject"] == "local"
    assert told[3][2]["outputs"] == {"o0": 3}
    assert "this needs a mesh" in told[6][2]["detail"]
