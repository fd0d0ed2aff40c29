"""Every block of `docs/`, done on a real mesh as a reader would."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from docpages import CLUSTER, Reader, blocks, commands, difference
from mesh import ROOT, Mesh

pytestmark = pytest.mark.slow

DOCS = ROOT / "docs"
# `reference/` is generated, and proved current by test_generated_code.py.
PAGES = sorted(p for p in DOCS.rglob("*.md") if "reference" not in p.relative_to(DOCS).parts)
RUN = [page for page in PAGES if any(b.info == "console" for b in blocks(page))]
OTHERS = "coming-from-"
# Needs machines of its own: run by test_several_machines.py.
MACHINES = DOCS / "several-machines.md"


def starts_a_mesh(page: Path) -> bool:
    return any(
        command.text.startswith("callmesh up")
        for block in blocks(page)
        if block.info == "console"
        for command in commands(block)
    )


@pytest.fixture
def mesh_of(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Mesh]:
    """The pages' mesh, cleared afterwards; for a page that starts one, a state folder."""
    if starts_a_mesh(request.getfixturevalue("page")):
        own = Mesh(state=tmp_path / "callmesh" / "default")
        try:
            yield own
        finally:
            own.cli("down", "--purge")
        return
    shared: Mesh = request.getfixturevalue("file_mesh")
    yield shared
    for app in shared.json("get", "apps"):
        shared.cli("delete", "app", app["name"])


@pytest.mark.parametrize("page", [p for p in RUN if p != MACHINES], ids=lambda page: page.stem)
def test_what_a_page_shows_is_what_happens(page: Path, mesh_of: Mesh, tmp_path: Path) -> None:
    folder = tmp_path / "page"
    folder.mkdir()
    replaced = {"callmesh up": "callmesh up --port 0 --ingress-port 0"}
    if mesh_of.state.exists():
        replaced[":7480"] = f":{mesh_of.record['ingress_port']}"
    Reader(page, folder, mesh_of.environment, replaced).read()


def test_the_readme_does_what_it_shows(tmp_path: Path) -> None:
    folder = tmp_path / "clone"
    shutil.copytree(ROOT / "examples", folder / "examples")
    example = folder / "examples" / "task_calls_app.py"
    with_key = example.read_text().replace("import httpx", "import os\n\nimport httpx", 1)
    (folder / "with_key.py").write_text(
        re.sub("(?m)^(EUROS = .*)$", r'\1\n\nKEY = os.environ["RATES_KEY"]', with_key)
    )
    replaced = {
        "pip install '.[all]'": "true",
        "callmesh up": "callmesh up --port 0 --ingress-port 0",
        "RATES_KEY=": "cp with_key.py examples/task_calls_app.py; RATES_KEY=",
        # The program that is shown in short is another revision of the same app.
        "callmesh down": "callmesh deploy short.py > log.txt && callmesh down",
    }
    mesh = Mesh(state=tmp_path / "callmesh" / "default")
    try:
        Reader(ROOT / "README.md", folder, mesh.environment, replaced, unnamed="short.py").read()
    finally:
        mesh.cli("down", "--purge")


def test_every_block_is_one_that_is_run() -> None:
    for page in PAGES:
        for block in blocks(page):
            where = f"{page.name}:{block.line}"
            if block.info.endswith("other-product"):
                assert page.name.startswith(OTHERS), f"{where}: others' code has no place here"
            elif block.info == CLUSTER:
                assert page == MACHINES, f"{where}: test_pods.py does not read this page"
            else:
                assert block.info == "console" or block.file, f"{where}: nobody runs `{block.info}`"
                assert page in RUN, f"{where}: no command of this page runs it"


def test_every_link_leads_somewhere() -> None:
    for page in [*PAGES, *DOCS.rglob("reference/*.md")]:
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text()):
            if not target.startswith("http"):
                assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_comparison_sees_what_differs() -> None:
    assert difference(["run rbkdg5a5188v5", "3"], "3\n", "run raaaaaaaaaaa1\n") == ""
    assert difference(["{…}"], '{"a": 1}\n', "") == ""
    assert difference(["…", "b"], "a\nb\n", "") == ""
    assert difference(["4"], "3\n", "") == "shown, and not printed: 4"
    assert difference([], "3\n", "") == "printed, and not shown: 3"
    assert difference(["b", "a"], "", "a\nb\n") == "shown, and not printed: a"
