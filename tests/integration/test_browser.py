"""Browser calls app, and the mesh's pages, in a real Chromium."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import Browser, chromium, is_installed
from mesh import Mesh

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(not is_installed(), reason="needs Debian's chromium and chromium-driver"),
]
BLANK = 8_000
"""Bytes: a screenshot of an empty window is smaller."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as window:
        yield window


@pytest.fixture(scope="module")
def examples(shared_mesh: Mesh) -> Mesh:
    for name in ("streamlit_dashboard", "plain_server", "retries_and_timeouts"):
        shared_mesh.cli("deploy", f"examples/{name}.py")
    return shared_mesh


def at(mesh: Mesh, app: str = "", path: str = "/") -> str:
    host = f"{app}.localhost" if app else "localhost"
    return f"http://{host}:{mesh.record['ingress_port']}{path}"


def test_streamlit_dashboard_answers_its_visitor(
    examples: Mesh, browser: Browser, tmp_path: Path
) -> None:
    browser.open(at(examples, "dashboard"))
    browser.wait_for("High water at Roscoff")
    browser.fill("input[type=text]", "Oban")
    browser.wait_for("High water at Oban")
    image = browser.screenshot(tmp_path / "dashboard.png")
    assert image.startswith(b"\x89PNG")
    assert len(image) > BLANK


def test_plain_python_program_is_a_page(examples: Mesh, browser: Browser) -> None:
    browser.open(at(examples, "world-clock"))
    browser.wait_for("Nairobi")
    assert browser.title == "World clock"


def test_home_page_lists_apps_and_tasks(examples: Mesh, browser: Browser, tmp_path: Path) -> None:
    browser.open(at(examples))
    for text in ("dashboard", "world-clock", "patience.oversleep"):
        browser.wait_for(text)
    assert len(browser.screenshot(tmp_path / "home.png")) > BLANK


def test_page_of_a_run_follows_it_to_its_end(examples: Mesh, browser: Browser) -> None:
    script = examples.state.parent / "start_run.py"
    script.write_text(
        "import callmesh as flyte, callmesh.remote as remote\n"
        "flyte.init_from_config()\n"
        "task = remote.Task.get('patience.oversleep', auto_version='latest')\n"
        "print(flyte.run(task, seconds=30.0).url)\n"
    )
    url = examples.python(script).strip()
    browser.open(url.replace("127.0.0.1", "localhost"))
    browser.wait_for("running", seconds=10)
    browser.wait_for("timed out", seconds=20)


def test_unknown_app_names_what_exists(examples: Mesh, browser: Browser) -> None:
    browser.open(at(examples, "ghost"))
    browser.wait_for("no app `ghost`")
    browser.wait_for("world-clock")
