"""Which files travel: packages, `include`, `root_dir` and every `copy_style`, seen from inside."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from mesh import Mesh

pytestmark = pytest.mark.slow

MAIN = """
import importlib, sys
from pathlib import Path
import fastapi
import callmesh as flyte
from callmesh.app.extras import FastAPIAppEnvironment
from pkg.helpers import greet
from pkg import jobs

HERE = Path(__file__).parent
app = fastapi.FastAPI()
env = FastAPIAppEnvironment(
    name="NAME", app=app, include=INCLUDE, requires_auth=False, depends_on=[jobs.tasks]
)

@app.get("/")
def here() -> dict:
    try:
        lazy = importlib.import_module("pkg.lazy").WORD
    except ImportError:
        lazy = None
    found = [p.relative_to(HERE).as_posix() for p in HERE.rglob("*") if p.is_file()]
    return {"files": sorted(f for f in found if not f.endswith(".pyc")), "lazy": lazy,
            "greet": greet("app")}

if __name__ == "__main__":
    flyte.init_from_config(root_dir=ROOT)
    flyte.with_servecontext(copy_style=sys.argv[1], version=sys.argv[2]).serve(env)
"""
JOBS = """
import callmesh as flyte
from .helpers import greet

tasks = flyte.TaskEnvironment(name="NAME-tasks")

@tasks.task
def hello() -> str:
    return greet("task")
"""
CODE = ["main.py", "pkg/__init__.py", "pkg/helpers.py", "pkg/jobs.py"]


def project(folder: Path, name: str, include: list[str], root: Path | None = None) -> Path:
    """A project of one package, data and what is not to travel; its script."""
    files = {
        "main.py": MAIN.replace("INCLUDE", repr(include)).replace(
            "ROOT", repr(str(root or folder))
        ),
        "pkg/__init__.py": "",
        "pkg/helpers.py": 'def greet(who): return f"hello {who}"\n',
        "pkg/jobs.py": JOBS,
        "pkg/lazy.py": 'WORD = "lazy"\n',
        "data/words.txt": "words",
        "data/deep/more.txt": "more",
        "private.key": "not for travel",
        ".gitignore": "*.key\n",
    }
    for path, content in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content.replace("NAME", name))
    return folder / "main.py"


def seen(mesh: Mesh, name: str) -> dict[str, Any]:
    status, body = mesh.get(name)
    assert status == 200, body
    done = mesh.cli("run", "deployed-task", f"{name}-tasks.hello", "-o", "json")
    assert json.loads(done.stdout)["outputs"] == "hello task"
    found = dict(json.loads(body))
    assert found.pop("greet") == "hello app"
    return found


def test_loaded_modules_and_included_files(shared_mesh: Mesh, tmp_path: Path) -> None:
    script = project(tmp_path, "code-loaded", ["data/*.txt", "data/deep"])
    shared_mesh.python(script, "loaded_modules", "v1")
    data = ["data/deep/more.txt", "data/words.txt"]
    assert seen(shared_mesh, "code-loaded") == {"files": sorted([*CODE, *data]), "lazy": None}


def test_all_but_what_version_control_ignores(shared_mesh: Mesh, tmp_path: Path) -> None:
    script = project(tmp_path, "code-all", [])
    shared_mesh.python(script, "all", "v1")
    found = seen(shared_mesh, "code-all")
    assert found["lazy"] == "lazy"
    assert {"data/words.txt", "pkg/lazy.py"} < set(found["files"])
    assert "private.key" not in found["files"]


def test_custom_is_what_is_listed(shared_mesh: Mesh, tmp_path: Path) -> None:
    script = project(tmp_path, "code-custom", ["pkg/helpers.py", "pkg/__init__.py", "pkg/lazy.py"])
    shared_mesh.python(script, "custom", "v1")
    # The task's module declares as well: the app depends on it.
    found = seen(shared_mesh, "code-custom")
    assert found == {"files": sorted([*CODE, "pkg/lazy.py"]), "lazy": "lazy"}


def test_none_is_what_is_installed_there(tmp_path: Path) -> None:
    script = project(tmp_path / "installed", "code-none", ["data/words.txt"])
    state = tmp_path / "callmesh" / "default"
    mesh = Mesh(state=state, variables={"PYTHONPATH": str(script.parent)})
    with mesh.running():
        mesh.python(script, "none", "v1")
        found = seen(mesh, "code-none")
        assert found["lazy"] == "lazy", "imported from where it is installed"
        assert "private.key" in found["files"]


def test_none_needs_a_version(shared_mesh: Mesh, tmp_path: Path) -> None:
    script = project(tmp_path, "code-nameless", [])
    with pytest.raises(AssertionError, match='`copy_style="none"` needs a `version`'):
        shared_mesh.python(script, "none", "")


def test_root_dir_holds_what_travels(shared_mesh: Mesh, tmp_path: Path) -> None:
    """A script below the root, a package beside it, a file above the script."""
    script = project(tmp_path / "scripts", "code-rooted", ["../shared.txt"], root=tmp_path)
    (tmp_path / "shared.txt").write_text("shared")
    shared_mesh.python(script, "loaded_modules", "v1")
    assert seen(shared_mesh, "code-rooted")["files"] == CODE

    outside = project(tmp_path / "narrow" / "in", "code-narrow", ["../out.txt"])
    (tmp_path / "narrow" / "out.txt").write_text("outside")
    with pytest.raises(AssertionError, match="is outside the root folder"):
        shared_mesh.python(outside, "loaded_modules", "v1")


def test_one_environment_and_its_tasks_in_several_modules(
    shared_mesh: Mesh, tmp_path: Path
) -> None:
    """The environment in one module, tasks in a package's other module and in the script."""
    files = {
        "src/shop/__init__.py": "",
        "src/shop/envs.py": (
            "import callmesh as flyte\nbase = flyte.TaskEnvironment(name='code-apart')\n"
        ),
        "src/shop/steps.py": (
            "from shop.envs import base\n\n@base.task\ndef shout(text: str) -> str:\n"
            "    return text.upper()\n"
        ),
        "main.py": (
            "import sys\nfrom pathlib import Path\n"
            "sys.path.insert(0, str(Path(__file__).parent / 'src'))\n"
            "import callmesh as flyte\nfrom shop.envs import base\nfrom shop.steps import shout\n\n"
            "@base.task\nasync def twice(text: str) -> str:\n"
            "    return await shout.aio(text) + text\n\n"
            "if __name__ == '__main__':\n    flyte.init_from_config()\n"
            "    print(flyte.run(twice, text='a').outputs()[0])\n"
        ),
    }
    for name, content in files.items():
        target = tmp_path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content)
    script = tmp_path / "main.py"
    assert shared_mesh.python(script).strip() == "Aa"
    shared_mesh.cli("deploy", str(script))
    assert shared_mesh.cli("run", "deployed-task", "shout", "--text", "b").stdout == '"B"\n'
    told = shared_mesh.cli("describe", "task", "code-apart.shout").stdout
    assert (
        "shop.envs, main, shop.steps:shout" in told or "shop.envs, shop.steps, main:shout" in told
    )
