"""What is generated and committed: the contracts' code, and the reference of the docs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from mesh import ROOT

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "callmesh"
UV = Path(sys.executable).with_name("uv")
IMPORT_ALL = """
import importlib, pathlib, google.protobuf
for path in sorted(pathlib.Path("protos/callmeshpb/v1").glob("*_pb2*.py")):
    importlib.import_module(f"callmeshpb.v1.{path.stem}")
from callmesh_wire.methods import methods
assert len(methods()) >= 30
print(google.protobuf.__version__)
"""
pytestmark = pytest.mark.slow


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_it_is_current() -> None:
    done = run(sys.executable, "deploy/gen_protos.py", "--check")
    assert done.returncode == 0, done.stderr


def test_the_reference_is_current() -> None:
    done = run(sys.executable, "deploy/gen_reference.py", "--check")
    assert done.returncode == 0, done.stderr


def test_the_contracts_are_lint_clean() -> None:
    buf = shutil.which("buf") or CACHE / "buf" / "node_modules" / ".bin" / "buf"
    if not Path(buf).exists():
        if not shutil.which("npm"):
            pytest.skip("buf lint: needs `buf`, or `npm` to install it")
        (CACHE / "buf").mkdir(parents=True, exist_ok=True)
        done = run("npm", "install", "--silent", "--prefix", CACHE / "buf", "@bufbuild/buf@1")
        assert done.returncode == 0, done.stderr
    done = run(buf, "lint")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("major", [6, 7])
def test_it_is_imported_under_protobuf(major: int, tmp_path: Path) -> None:
    python = tmp_path / "bin" / "python"
    for command in (
        [UV, "venv", "--quiet", "--python", sys.executable, tmp_path],
        [UV, "pip", "install", "--quiet", "--python", python,
         f"protobuf=={major}.*", "grpcio", "googleapis-common-protos"],
    ):  # fmt: skip
        done = run(*command)
        assert done.returncode == 0, done.stderr
    done = run("env", "PYTHONPATH=protos", python, "-c", IMPORT_ALL)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{major}.")
