"""Rules of this repository that no linter knows."""

from __future__ import annotations

import ast
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("protos", "client", "server", "agent", "deploy", "examples", "tests")
MODULE_LIMIT = 400
TEST_LIMIT = 600
FUNCTION_LIMIT = 60
NOT_A_NOUN = {"utils", "util", "helpers", "helper", "common", "manager", "base", "misc", "handler"}


def modules() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", *ROOMS],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    return [
        ROOT / name
        for name in listed
        if name.endswith(".py") and "_pb2" not in name and (ROOT / name).exists()
    ]


MODULES = {str(path.relative_to(ROOT)): path for path in modules()}


@pytest.mark.parametrize("name", MODULES)
def test_a_module_is_small_and_says_what_it_is(name: str) -> None:
    text = MODULES[name].read_text()
    if not text.strip():
        return
    limit = TEST_LIMIT if name.startswith("tests/") else MODULE_LIMIT
    assert text.count("\n") <= limit, f"split it by noun: over {limit} lines"
    assert ast.get_docstring(ast.parse(text)), "begin it with what it is for"
    assert MODULES[name].stem not in NOT_A_NOUN, "name it for its noun"


@pytest.mark.parametrize("name", [n for n in MODULES if not n.startswith("tests/")])
def test_a_function_fits_on_a_screen(name: str) -> None:
    tree = ast.parse(MODULES[name].read_text())
    long = [
        f"{node.name} has {node.end_lineno - node.lineno + 1} lines"
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno is not None
        and node.end_lineno - node.lineno + 1 > FUNCTION_LIMIT
    ]
    assert not long


@pytest.mark.parametrize("name", MODULES)
def test_nothing_is_left_for_later_or_mocked(name: str) -> None:
    if name == "tests/test_house_rules.py":
        return
    found = re.findall(
        r"\bTODO\b|\bFIXME\b|\bXXX\b|NotImplementedError|unittest\.mock|MagicMock|mark\.xfail",
        MODULES[name].read_text(),
    )
    assert not found


def test_every_contract_describes_its_methods() -> None:
    for path in (ROOT / "protos/callmeshpb/v1").glob("*.proto"):
        lines = path.read_text().splitlines()
        for number, line in enumerate(lines):
            if line.startswith(("service ", "  // ", "message ")) or "rpc Watch" not in line:
                continue
            assert lines[number - 1].strip().startswith("//"), f"{path.name}: {line.strip()}"


def test_every_committed_text_speaks_of_the_project_alone() -> None:
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    machine = re.compile(r"/work/(?:main|shared)|/root/|/home/[a-z]+/")
    for name in listed:
        path = ROOT / name
        if path.suffix in {".py", ".md", ".toml", ".yml", ".yaml", ".proto", ".sh"} and (
            name != "tests/test_house_rules.py" and path.exists()
        ):
            assert not machine.search(path.read_text()), name


def test_the_version_is_written_once() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert f"## {project['version']}" in (ROOT / "CHANGELOG.md").read_text()
