"""The webhook app and the passthrough middleware, called through Envoy."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from mesh import Mesh

pytestmark = pytest.mark.slow

PROJECT = "tests/integration/projects/webhook.py"
SCOPE = "development/default"


class Hook:
    """A client of one deployed app."""

    def __init__(self, mesh: Mesh, app: str, **headers: str) -> None:
        base = mesh.json("get", "app", app)["endpoint"]
        self.client = httpx.Client(base_url=base, headers=headers, timeout=60)

    def __call__(self, method: str, path: str, **options: Any) -> tuple[int, Any]:
        answer = self.client.request(method, path, **options)
        return answer.status_code, answer.json()


@pytest.fixture(scope="module")
def deployed(shared_mesh: Mesh) -> Mesh:
    shared_mesh.cli("deploy", PROJECT)
    return shared_mesh


@pytest.fixture(scope="module")
def hook(deployed: Mesh) -> Hook:
    token = Path(deployed.state / "token").read_text().strip()
    return Hook(deployed, "hook", authorization=f"Bearer {token}")


def ended(hook: Hook, name: str) -> dict[str, Any]:
    for _ in range(600):
        status, body = hook("GET", f"/run/{name}")
        assert status == 200, body
        if body["done"]:
            return dict(body)
        time.sleep(0.05)
    raise AssertionError(body)


def test_a_run_from_its_start_to_its_outputs(hook: Hook) -> None:
    status, body = hook("POST", f"/run-task/{SCOPE}/hooked.add", json={"x": 40, "y": 2})
    assert status == 200, body
    assert body["url"].endswith(body["name"])
    assert ended(hook, body["name"])["phase"] == "succeeded"
    status, values = hook("GET", f"/run/{body['name']}/io")
    assert (status, values["inputs"], values["outputs"]) == (200, {"x": 40, "y": 2}, {"o0": 42})
    status, body = hook("POST", f"/run/{body['name']}/abort")
    assert status == 409, body


def test_a_run_is_aborted(hook: Hook) -> None:
    _, body = hook("POST", f"/run-task/{SCOPE}/hooked.rest", json={"seconds": 600})
    status, aborted = hook("POST", f"/run/{body['name']}/abort?reason=enough")
    assert (status, aborted["reason"]) == (200, "enough")
    assert ended(hook, body["name"])["phase"] == "aborted"


@pytest.mark.parametrize("name", ["add", "hooked.add", "rest", "hooked.rest"])
def test_a_task_is_allowed_by_each_of_its_names(hook: Hook, name: str) -> None:
    inputs = {"x": 1} if "add" in name else {"seconds": 0}
    status, body = hook("POST", f"/run-task/{SCOPE}/{name}", json=inputs)
    assert status == 200, body
    assert ended(hook, body["name"])["phase"] == "succeeded"


def test_a_task_is_described(hook: Hook) -> None:
    status, body = hook("GET", f"/task/{SCOPE}/hooked.add")
    assert status == 200
    assert (body["required_args"], body["default_input_args"]) == (["x"], ["y"])


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "words"),
    [
        ("POST", f"/run-task/{SCOPE}/hooked.add", {"x": "a", "z": 1}, 422, ("`x`", "`z`")),
        ("POST", f"/run-task/{SCOPE}/hooked.add", {}, 422, ("`x` is missing",)),
        ("POST", f"/run-task/{SCOPE}/hooked.add", [1], 422, ("dict",)),
        ("POST", f"/run-task/{SCOPE}/hooked.secret_sauce", {}, 403, ("not allowed",)),
        ("POST", "/run-task/production/default/hooked.add", {"x": 1}, 404, ("`hooked.add`",)),
        ("GET", f"/task/{SCOPE}/hooked.add?version=nope", None, 404, ("`nope`",)),
        ("GET", "/run/rnowhere", None, 404, ("`rnowhere`",)),
        ("GET", "/run/NOT%20A%20NAME", None, 422, ("name",)),
        ("GET", "/app/hook-nowhere", None, 404, ("`hook-nowhere`",)),
        ("GET", "/app/hook-hidden", None, 403, ("not allowed",)),
        ("GET", "/app/hook-target?domain=production", None, 403, ("not allowed",)),
        ("GET", "/app/hook", None, 400, ("self",)),
        ("POST", "/app/hook-target/call?path=/teapot", None, 418, ("short and stout",)),
        ("POST", "/app/hook-target/call?path=/&method=BREW", None, 422, ("BREW",)),
        ("POST", "/build-image", {}, 501, ("image builds",)),
        ("POST", "/prefetch/hf-model", {}, 501, ("prefetching",)),
        ("POST", "/trigger/a/b/activate", None, 501, ("triggers",)),
    ],
)
def test_what_is_refused(
    hook: Hook, method: str, path: str, body: Any, status: int, words: tuple[str, ...]
) -> None:
    found, answer = hook(method, path, json=body)
    assert found == status, answer
    for word in words:
        assert word in json.dumps(answer["detail"]), answer


def test_a_run_of_a_task_that_is_not_allowed_is_not_shown(deployed: Mesh, hook: Hook) -> None:
    done = deployed.cli("run", "deployed-task", "hooked.secret_sauce", "-o", "json")
    assert json.loads(done.stdout)["outputs"] == "no"
    run = deployed.json("get", "runs")[0]["name"]
    status, body = hook("GET", f"/run/{run}/io")
    assert (status, body["detail"]) == (403, f"run `{run}` is of a task that is not allowed here")


def test_apps_are_called_and_switched(hook: Hook) -> None:
    status, body = hook(
        "POST",
        "/app/hook-target/call?path=echo&method=POST",
        json={"payload": {"a": 1}, "query_params": {"q": "b c&d"}},
    )
    assert (status, body) == (200, {"body": {"a": 1}, "q": "b c&d"})
    status, body = hook("POST", "/app/hook-target/deactivate?wait=true")
    assert (status, body["is_deactivated"]) == (200, True)
    status, body = hook("POST", "/app/hook-target/call?path=/docs")
    assert status == 503, body
    status, body = hook("POST", "/app/hook-target/activate?wait=true")
    assert (status, body["is_active"]) == (200, True)
    assert hook("GET", "/app/hook-target")[1]["is_active"] is True


def test_who_asks(deployed: Mesh, hook: Hook) -> None:
    assert hook("GET", "/me") == (200, {"subject": "user via app/hook", "name": "user"})
    nobody = Hook(deployed, "hook")
    assert nobody("GET", "/health") == (200, {"status": "healthy"})
    status, body = nobody("GET", "/me")
    assert (status, body) == (401, {"detail": "Authentication credentials required"})
    for headers in ({"authorization": "Bearer guess"}, {"cookie": "a=b"}):
        stranger = Hook(deployed, "hook", **headers)
        for method, path in (("GET", "/me"), ("GET", "/run/x"), ("GET", "/app/hook-target")):
            assert stranger(method, path)[0] == 401
        path = f"/run-task/{SCOPE}/hooked.add"
        assert stranger("POST", path, json={"x": 1})[0] == 401


def test_a_run_says_for_whom_it_was_made(deployed: Mesh, hook: Hook, tmp_path: Path) -> None:
    _, body = hook("POST", f"/run-task/{SCOPE}/hooked.add", json={"x": 1})
    ended(hook, body["name"])
    script = tmp_path / "whose.py"
    script.write_text(
        "import sys, callmesh\ncallmesh.init_from_config()\n"
        "print(callmesh.remote.Run.get(sys.argv[1]).pb2.requested_by)\n"
    )
    assert deployed.python(script, body["name"]).strip() == "user via app/hook"


def test_a_body_without_end_is_refused(hook: Hook) -> None:
    path = f"/run-task/{SCOPE}/hooked.add"
    status, body = hook("POST", path, content=b" " * (17 << 20))
    assert status == 413, body
    status, body = hook("POST", path, content=(b" " * (1 << 20) for _ in range(20)))
    assert status == 413, body


def test_only_the_chosen_endpoints_are_there(deployed: Mesh) -> None:
    narrow = Hook(deployed, "hook-narrow", authorization="Bearer x")
    paths = narrow("GET", "/openapi.json")[1]["paths"]
    assert sorted(paths) == ["/health", "/me", "/run-task/{domain}/{project}/{name}"]
    assert narrow("GET", "/app/hook-target")[0] == 404


def test_the_middleware_alone(deployed: Mesh) -> None:
    """Without `init_passthrough` the app acts for itself, whoever calls it."""
    assert Hook(deployed, "hook-passing")("GET", "/")[0] == 401
    keyed = Hook(deployed, "hook-passing", **{"x-api-key": "k"})
    assert keyed("GET", "/") == (200, "app/hook-passing")
