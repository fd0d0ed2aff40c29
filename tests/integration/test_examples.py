"""Every example, deployed by the CLI into one mesh and called as its docstring says."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
import websockets
from mesh import ROOT, Mesh

pytestmark = pytest.mark.slow

TEXT = {"text": "to be or not to be that is the question"}
PAGES = ["the quick brown fox", "jumped over", "a lazy dog"]
FILES = sorted(path for path in (ROOT / "examples").glob("*.py"))
VERSIONS = {"webhook.py": ("--version", "v1")}


@pytest.fixture(scope="module")
def examples(shared_mesh: Mesh) -> Mesh:
    for path in FILES:
        shared_mesh.cli("deploy", f"examples/{path.name}", *VERSIONS.get(path.name, ()))
    return shared_mesh


def call(mesh: Mesh, app: str, path: str, body: dict[str, str] | None = None) -> Any:
    options = ["-X", "POST", "-d", json.dumps(body)] if body is not None else []
    return json.loads(mesh.cli("call", app, path, *options).stdout)


def run(mesh: Mesh, task: str, code: int = 0, **inputs: Any) -> dict[str, Any]:
    """Run a deployed task with the CLI; the run as `get run -o json` shows it."""
    values = [f"--{name}={_text(value)}" for name, value in inputs.items()]
    told = mesh.cli("run", "deployed-task", task, *values, check=not code)
    assert told.returncode == code, told.stderr
    newest = mesh.json("get", "runs")
    name = next(each["name"] for each in newest if each["task"].endswith(f".{task}"))
    found: dict[str, Any] = mesh.json("get", "run", name)
    return found


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def test_every_name_is_used_once() -> None:
    names = [
        name
        for path in FILES
        for name in re.findall(r"^ +name=\"([^\"]+)\",? ?", path.read_text(), re.MULTILINE)
        if not name.endswith("_url")
    ]
    assert len(names) == len(set(names)), sorted(names)


def test_readme_names_every_example() -> None:
    table = (ROOT / "examples" / "README.md").read_text()
    assert [path.name for path in FILES if f"`{path.name}`" not in table] == []


def test_every_app_is_ready(examples: Mesh) -> None:
    apps = {app["name"]: app["state"] for app in examples.json("get", "apps")}
    expected = {"exchange-rates", "front-desk", "dashboard", "world-clock", "guest-book", "banner"}
    assert expected <= set(apps)
    assert {name: state for name, state in apps.items() if state != "ready"} == {}


def test_task_calls_app_by_endpoint(examples: Mesh) -> None:
    assert run(examples, "invoice_total", amounts={"USD": 20, "CHF": 5})["outputs"] == 23.2


def test_task_calls_app_by_argument(examples: Mesh) -> None:
    url = examples.json("get", "app", "exchange-rates")["endpoint"]
    told = run(examples, "in_euros", rates_url=url, currency="JPY", amount=1000.0)
    assert told["outputs"] == 6.0


def test_app_calls_app_by_endpoint(examples: Mesh) -> None:
    told = call(examples, "front-desk", "/welcome/Ada?language=fr")
    assert told == {"message": "Bienvenue, Ada!"}


def test_grpc_app_is_called_by_name(examples: Mesh) -> None:
    told = run(examples, "greet_everybody", names=["Ada", "Grace"])
    assert told["outputs"] == ["Hello, Ada!", "Hello, Grace!"]
    assert call(examples, "reception", "/arrival?name=Ada&language=fr") == {"said": "Bonjour, Ada!"}


def test_app_calls_apps_that_are_inputs(examples: Mesh) -> None:
    told = call(examples, "shop-window", "/items/teapot")
    assert told == {"item": "teapot", "left": 4, "price": 29.5}


def test_root_app_splits_visitors_over_two_variants(examples: Mesh) -> None:
    met = {
        v: call(examples, "banner", f"/?visitor={v}")["variant"] for v in ("ada", "grace", "alan")
    }
    assert set(met.values()) == {"a", "b"}
    again = {
        visitor: call(examples, "banner", f"/?visitor={visitor}")["variant"] for visitor in met
    }
    assert again == met


def test_chain_of_three_apps_answers(examples: Mesh) -> None:
    told = call(examples, "ticket-office", "/tickets?start=Basel&end=Bern")
    assert told == {"from": "Basel", "to": "Bern", "price": 21.5}


@pytest.mark.parametrize(
    ("app", "path"),
    [
        ("report-webhook", "/start"),
        ("report-webhook", "/start-lazily"),
        ("report-webhook", "/start-latest"),
        ("report-desk", "/start"),
    ],
)
def test_webhook_starts_a_run_and_does_not_wait(examples: Mesh, app: str, path: str) -> None:
    told = call(examples, app, path, TEXT)
    assert set(told) == {"run_id", "url", "status"}
    assert told["url"].endswith(f"/runs/{told['run_id']}")
    follow = examples.cli("get", "run", told["run_id"], "-o", "json")
    assert json.loads(follow.stdout)["task"] == "reports.most_used_words"


def test_webhook_waits_for_outputs(examples: Mesh) -> None:
    told = call(examples, "report-webhook", "/wait", TEXT)
    assert told["words"] == ["to", "be"]
    assert told["status"] == "succeeded"
    page = call(examples, "report-desk", f"/runs/{told['run_id']}")
    assert page["status"] == "succeeded"


def test_websocket_streams_a_run(examples: Mesh) -> None:
    endpoint = examples.json("get", "app", "baker")["endpoint"].replace("http://", "ws://")

    async def listen() -> list[dict[str, str]]:
        async with websockets.connect(f"{endpoint}/bake?seconds=0.2") as socket:
            return [json.loads(message) async for message in socket]

    first, *updates, last = asyncio.run(listen())
    assert set(first) == {"run", "url"}
    assert [each["status"] for each in updates][-1] == "succeeded"
    assert last == {"result": "bread, baked for 0.2 s"}


def test_plain_program_answers_a_browser(examples: Mesh) -> None:
    status, body = examples.get("world-clock")
    assert status == 200
    assert "Nairobi" in body


def test_dashboard_is_served_at_its_host_name(examples: Mesh) -> None:
    status, body = examples.get("dashboard")
    assert status == 200
    assert "streamlit" in body.lower()


def test_shutdown_hook_runs_when_the_app_ends(examples: Mesh) -> None:
    endpoint = examples.json("get", "app", "guest-book")["endpoint"]
    before = httpx.post(f"{endpoint}/sign", params={"name": "Ada"}).json()
    assert "Ada" in before
    pid = examples.json("get", "app", "guest-book")["instances"][0]["pid"]
    _terminate(pid)
    _until(
        lambda: (
            f"opened the book at {len(before)} guests" in examples.cli("logs", "guest-book").stdout
        )
    )


def test_task_maps_and_calls_a_child(examples: Mesh) -> None:
    told = run(examples, "longest_words", pages=PAGES)
    assert told["outputs"] == "quick jumped lazy"
    children = [each for each in examples.json("get", "runs") if each["parent"] == told["name"]]
    assert len(children) == 4


def test_group_of_two_child_runs(examples: Mesh) -> None:
    assert run(examples, "first_and_last", pages=PAGES)["outputs"] == ["quick", "lazy"]


def test_retries_until_it_succeeds(examples: Mesh) -> None:
    told = run(examples, "call_until_answered", rings=3)
    assert told["outputs"] == "answered at attempt 3"
    assert len(told["attempts"]) == 3
    assert "attempt 2" in examples.cli("logs", f"run/{told['name']}").stdout


def test_non_recoverable_error_is_not_retried(examples: Mesh) -> None:
    told = run(examples, "read_missing_page", code=1, page=404)
    assert told["phase"] == "failed"
    assert len(told["attempts"]) == 1
    assert "no page 404" in told["error"]["message"]


def test_too_slow_task_is_stopped(examples: Mesh) -> None:
    assert run(examples, "oversleep", code=1, seconds=60.0)["phase"] == "timed_out"


@pytest.mark.parametrize(
    "name",
    ["task_calls_app", "app_calls_app", "task_calls_task", "run_handles", "websocket_progress"],
)
def test_example_runs_as_a_script(examples: Mesh, name: str) -> None:
    printed = examples.python(Path("examples") / f"{name}.py")
    assert printed.strip()
    if name == "run_handles":
        assert "walked 3 steps" in printed
        assert "is aborted" in printed


def _terminate(pid: int) -> None:
    import psutil

    psutil.Process(pid).terminate()


def _until(condition: Any, seconds: float = 20) -> None:
    import time

    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.2)


@pytest.mark.parametrize(
    ("file", "printed"),
    [
        ("task_calls_app.py", "23.2"),
        ("app_calls_app.py", "Welcome, Ada!"),
        ("endpoint_inputs.py", "teapot"),
        ("ab_test.py", "ada"),
        ("chain_of_three.py", "Basel"),
        ("task_calls_task.py", ""),
        ("run_handles.py", "aborted"),
    ],
)
def test_a_file_runs_as_a_script(examples: Mesh, file: str, printed: str) -> None:
    assert printed in examples.python(ROOT / "examples" / file)
