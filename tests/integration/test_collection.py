"""A mesh removes old runs, and the files that nothing else refers to."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from mesh import Mesh, eventually

PROJECTS = Path(__file__).parent / "projects"
PROGRAM = f"""
import json, sys
sys.path.insert(0, {str(PROJECTS)!r})
import callmesh as flyte
from callmesh.remote import Run
import files
flyte.init_from_config()
"""
BEFORE = """
flyte.deploy(files.env)
def done(task, *inputs):
    run = flyte.run(task, *inputs)
    run.wait()
    return run.name
first = done(files.write, "an old file")
tree = done(files.parent)
folder = done(files.make_folder)
last = done(files.look, Run.get(folder).outputs()[0])
file = Run.get(first).outputs()[0]
print(json.dumps({"first": first, "tree": tree, "kept": [folder, last], "path": file.path}))
"""
AFTER = """
folder = Run.get(sys.argv[1]).outputs()[0]
print(sorted(each.name for each in folder.walk_sync()), folder.exists_sync())
for file in (folder.get_file_sync("one.txt"), flyte.run(files.write, "again").result()):
    with file.open_sync("r") as opened:
        print(opened.read())
"""


def stored(mesh: Mesh) -> dict[str, Path]:
    return {each.name: each for each in (mesh.state / "server" / "blobs").glob("*/*")}


def age(mesh: Mesh) -> None:
    """Two days pass for what was uploaded."""
    then = time.time() - 2 * 86_400
    for path in stored(mesh).values():
        os.utime(path, (then, then))


def up_keeping(mesh: Mesh, runs: int) -> None:
    mesh.cli("up", "--detach", "--port=0", "--ingress-port=0", f"--keep-runs={runs}")


def test_old_runs_go_with_their_files_and_nothing_else(mesh: Mesh, tmp_path: Path) -> None:
    before, after = tmp_path / "before.py", tmp_path / "after.py"
    before.write_text(PROGRAM + BEFORE)
    after.write_text(PROGRAM + AFTER)
    made = json.loads(mesh.python(before).splitlines()[-1])
    digest = made["path"].removeprefix("callmesh://")
    mesh.down()
    assert digest in stored(mesh)
    age(mesh)

    up_keeping(mesh, 2)
    eventually(60, "collection", lambda: "removed what is old" in mesh.log())
    eventually(30, "deletion", lambda: digest not in stored(mesh))
    names = {each["name"] for each in mesh.json("get", "runs", "--limit", "50")}
    assert names == set(made["kept"])
    refused = mesh.cli("get", "run", made["first"], check=False)
    assert refused.returncode
    assert f"there is no run `{made['first']}`" in refused.stderr
    assert mesh.python(after, made["kept"][0]).splitlines() == [
        "['one.txt', 'sub/deep/three.bin', 'two.txt'] True",
        "one",
        "again",
    ]


def test_an_open_run_and_its_deployed_code_are_never_touched(mesh: Mesh, tmp_path: Path) -> None:
    script = tmp_path / "waits.py"
    script.write_text(
        "import time\nimport callmesh as flyte\nenv = flyte.TaskEnvironment(name='waits')\n"
        "@env.task\ndef child(x: int) -> int:\n    return x\n"
        "@env.task\ndef parent(path: str) -> int:\n"
        "    found = child(1)\n    import pathlib\n"
        "    while not pathlib.Path(path).exists():\n        time.sleep(0.1)\n"
        "    return found\n"
    )
    gate = tmp_path / "gate"
    mesh.cli("deploy", str(script))
    mesh.cli("run", str(script), "child", "--x", "5")
    waiting = mesh.spawn("run", str(script), "parent", "--path", str(gate))
    try:
        eventually(60, "the child", lambda: len(mesh.json("get", "runs")) == 3)
        mesh.process("up").kill()
        age(mesh)
        up_keeping(mesh, 0)
        eventually(60, "collection", lambda: "removed what is old" in mesh.log())
        assert {each["task"] for each in mesh.json("get", "runs")} == {
            "waits.parent", "waits.child",
        }  # fmt: skip
        gate.touch()
        phases = lambda: {each["phase"].lower() for each in mesh.json("get", "runs")}  # noqa: E731
        eventually(60, "the end", lambda: phases() == {"succeeded"})
        mesh.cli("run", "deployed-task", "waits.child", "--x", "6")
    finally:
        waiting.kill()
        waiting.wait()
