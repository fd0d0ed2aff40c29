"""Generate the committed code of the contracts (`make gen`).

The compiler is pinned in `[dependency-groups].gen` of pyproject.toml and runs
in an environment of its own, because what it needs would hold back protobuf
everywhere else. `--check` proves that the committed code is current.
"""

from __future__ import annotations

import filecmp
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = Path("callmeshpb/v1")


def generate(compiler: Path, target: Path) -> None:
    """Write the code of every contract below ``target``."""
    protos = sorted((ROOT / "protos" / PACKAGE).glob("*.proto"))
    subprocess.run(
        [
            compiler, "-m", "grpc_tools.protoc", "-I", ROOT / "protos",
            f"--python_out={target}", f"--pyi_out={target}", f"--grpc_python_out={target}",
            *protos,
        ],
        check=True,
    )  # fmt: skip


def compiler_environment() -> Path:
    """The Python that has the pinned compiler; made at first use."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    home = cache / "callmesh" / "gen"
    python = home / "bin" / "python"
    uv = Path(sys.executable).with_name("uv")
    if not python.exists():
        subprocess.run([uv, "venv", "--quiet", "--seed", home], check=True)
    subprocess.run([uv, "pip", "install", "--quiet", "--python", python, "--group", "gen"],
                   check=True, cwd=ROOT)  # fmt: skip
    return python


def main() -> int:
    compiler = compiler_environment()
    if "--check" not in sys.argv[1:]:
        generate(compiler, ROOT / "protos")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        generate(compiler, Path(folder))
        fresh = sorted((Path(folder) / PACKAGE).iterdir())
        stale = [
            f.name
            for f in fresh
            if not (ROOT / "protos" / PACKAGE / f.name).exists()
            or not filecmp.cmp(f, ROOT / "protos" / PACKAGE / f.name, shallow=False)
        ]
    for name in stale:
        sys.stderr.write(f"{PACKAGE / name} is not current: run `make gen` and commit it\n")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
