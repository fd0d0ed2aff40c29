"""`callmesh run FILE TASK --file ./x.csv`: a local file or folder for a `File` or a `Dir`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from mesh import Mesh

FILE = str(Path(__file__).parent / "projects" / "files.py")


@pytest.mark.parametrize("where", [(), ("--local",)])
def test_a_local_path_is_stored(shared_mesh: Mesh, tmp_path: Path, where: tuple[str, ...]) -> None:
    (tmp_path / "x.csv").write_text("a,b\n1,2")
    path = str(tmp_path / "x.csv")
    said = shared_mesh.cli("run", *where, FILE, "read_sync", "--file", path)
    assert json.loads(said.stdout) == "a,b\n1,2"
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "one.txt").write_text("one of a folder")
    said = shared_mesh.cli("run", *where, FILE, "look", "--folder", str(folder))
    assert json.loads(said.stdout)["text"] == "one of a folder"
    refused = shared_mesh.cli("run", *where, FILE, "read", "--file", str(folder), check=False)
    assert refused.returncode == 2
    assert f"`--file` must be a file of this machine, and `{folder}` is none" in " ".join(
        refused.stderr.split()
    )


def test_a_file_over_the_limit_is_refused_before_it_is_read(
    shared_mesh: Mesh, tmp_path: Path
) -> None:
    large = tmp_path / "large.bin"
    with large.open("wb") as file:
        file.truncate(6 << 30)
    refused = shared_mesh.cli("run", FILE, "read", "--file", str(large), check=False)
    large.unlink()
    assert refused.returncode == 2
    assert "has 6.0 GiB, and the mesh keeps files of 5 GiB at most" in " ".join(
        refused.stderr.split()
    )


def test_for_a_deployed_task_and_by_reference(shared_mesh: Mesh, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("deployed")
    shared_mesh.cli("deploy", FILE)
    line = ("run", "deployed-task", "files.read_sync", "--file")
    assert shared_mesh.cli(*line, str(tmp_path / "x.csv")).stdout == '"deployed"\n'
    runs = shared_mesh.json("get", "runs", "--limit", "1")
    said = shared_mesh.cli("get", "io", runs[0]["name"]).stdout
    given = json.loads(said)["inputs"]["file"]
    assert given["name"] == "x.csv"
    assert shared_mesh.cli(*line, given["path"]).stdout == '"deployed"\n'


def test_copy_style_says_which_code_goes_along(shared_mesh: Mesh, tmp_path: Path) -> None:
    (tmp_path / "data.txt").write_text("beside the code")
    script = tmp_path / "beside.py"
    script.write_text(
        "from pathlib import Path\nimport callmesh as flyte\n"
        "env = flyte.TaskEnvironment(name='beside')\n"
        "@env.task\ndef look() -> str:\n"
        "    path = Path(__file__).with_name('data.txt')\n"
        "    return path.read_text() if path.exists() else 'nothing'\n"
    )
    line = ("run", str(script), "look")
    assert json.loads(shared_mesh.cli(*line).stdout) == "nothing"
    assert json.loads(shared_mesh.cli(*line, "--copy-style", "all").stdout) == "beside the code"
    refused = shared_mesh.cli("run", str(script), "look", "--copy-style=some", check=False)
    assert refused.returncode == 2
    assert "must be one of loaded_modules, all, custom, none" in " ".join(refused.stderr.split())
