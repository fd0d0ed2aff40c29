"""What people get wrong, and how they are told."""

from __future__ import annotations

import urllib.error
import urllib.request
from pathlib import Path

from mesh import Mesh

ELSEWHERE = """
import callmesh as flyte

elsewhere = flyte.app.AppEnvironment(
    name="elsewhere",
    args=["python", "-m", "http.server", "--bind", "127.0.0.1", "0"],
    timeouts=flyte.app.Timeouts(startup=3),
    requires_auth=False,
)
"""
DASHED = """
import callmesh as flyte

env = flyte.TaskEnvironment(name="dashed")


@env.task
def double(x: int) -> int:
    return 2 * x
"""


def test_an_app_that_listens_elsewhere_is_told_where(shared_mesh: Mesh, tmp_path: Path) -> None:
    file = tmp_path / "elsewhere_app.py"
    file.write_text(ELSEWHERE)
    done = shared_mesh.cli("deploy", str(file), check=False)
    assert done.returncode == 1
    said = " ".join(done.stderr.split())
    assert "nothing of it listens on port" in said
    assert "; it listens on " in said
    assert "instead: have it use `$PORT`" in said
    assert said.count("was not ready within 3 s") == 1
    for app, code, why in (
        ("elsewhere", 503, "no instance of app `elsewhere` is ready"),
        ("elsewehre", 404, "there is no app `elsewehre`"),
    ):
        answered, text = _post(shared_mesh, app)
        assert (answered, text.count("\n")) == (code, text.endswith("\n"))
        assert text.startswith(why)
    shared_mesh.cli("delete", "app", "elsewhere")


def test_a_file_with_a_dash_in_its_name_runs(shared_mesh: Mesh, tmp_path: Path) -> None:
    file = tmp_path / "two-words.py"
    file.write_text(DASHED)
    assert shared_mesh.cli("run", str(file), "double", "--x", "21").stdout == "42\n"


def _post(mesh: Mesh, app: str) -> tuple[int, str]:
    request = urllib.request.Request(
        f"{mesh.ingress}/items",
        data=b"{}",
        headers={"Host": f"{app}.localhost:{mesh.record['ingress_port']}"},
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as problem:
        return problem.code, problem.read().decode()
