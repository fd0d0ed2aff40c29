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
# gRPC's own health and reflection services, for a private pool.
SERVICES = Path("callmesh_wire/grpc_services.binpb")
_DESCRIBE = """
import sys
from google.protobuf import descriptor_pb2
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
files = descriptor_pb2.FileDescriptorSet()
for each in (health_pb2, reflection_pb2):
    each.DESCRIPTOR.CopyToProto(files.file.add())
sys.stdout.buffer.write(files.SerializeToString(deterministic=True))
"""


def generate(compiler: Path, root: Path) -> None:
    """Write the code of every contract, and of the example, below the folders of ``root``."""
    target, examples = root / "protos", root / "examples"
    for each in (target, examples):
        each.mkdir(exist_ok=True)
    protos = sorted((ROOT / "protos" / PACKAGE).glob("*.proto"))
    subprocess.run(
        [
            compiler, "-m", "grpc_tools.protoc", "-I", ROOT / "protos",
            f"--python_out={target}", f"--pyi_out={target}", f"--grpc_python_out={target}",
            *protos,
        ],
        check=True,
    )  # fmt: skip
    example = [f"--{each}_out={examples}" for each in ("python", "pyi", "grpc_python")]
    subprocess.run(
        [compiler, "-m", "grpc_tools.protoc", "-I", ROOT / "examples", *example,
         ROOT / "examples" / "greetings" / "greetings.proto"],
        check=True,
    )  # fmt: skip
    described = subprocess.run([compiler, "-c", _DESCRIBE], check=True, capture_output=True)
    (target / SERVICES).parent.mkdir(exist_ok=True, parents=True)
    (target / SERVICES).write_bytes(described.stdout)


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
        generate(compiler, ROOT)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        generate(compiler, Path(folder))
        fresh = [each.relative_to(folder) for each in Path(folder).rglob("*") if each.is_file()]
        stale = [
            name
            for name in sorted(fresh)
            if not (ROOT / name).exists()
            or not filecmp.cmp(Path(folder) / name, ROOT / name, shallow=False)
        ]
    for name in stale:
        sys.stderr.write(f"{name} is not current: run `make gen` and commit it\n")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
