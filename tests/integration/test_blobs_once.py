"""A file reaches a node once, however many tasks read it there."""

from __future__ import annotations

import json
from pathlib import Path

from mesh import eventually
from split import Split

FILE = Path(__file__).parent / "projects" / "keeping.py"
SIZE = 40_000_000
SCRIPT = """
import sys
import callmesh as flyte
from callmesh import remote
from callmesh.io import File

flyte.init_from_config()
file = File.from_local_sync(sys.argv[1])
print("sent", flush=True)
sys.stdin.readline()
task = remote.Task.get("keeping.weigh_often", auto_version="latest")
print(flyte.run(task, file=file, times=6).result(), flush=True)
"""


def test_tasks_on_one_node_share_one_download(tmp_path: Path) -> None:
    content, script = tmp_path / "content.bin", tmp_path / "script.py"
    content.write_bytes(b"\7" * SIZE)
    script.write_text(SCRIPT)
    with Split(tmp_path).running() as split:
        mesh = split.mesh
        mesh.cli("create", "secret", "word", "--value", "x")
        mesh.cli("deploy", str(FILE), timeout=120)
        with split.script(script, str(content)) as sending:
            assert sending.stdout and sending.stdin
            assert sending.stdout.readline() == "sent\n"
            before = split.server_reads()
            sending.stdin.write("\n")
            sending.stdin.flush()
            assert json.loads(sending.stdout.readline()) == [SIZE] * 6
        # What the server's process has read is the counter: the file, and little else.
        assert SIZE <= split.server_reads() - before < 1.5 * SIZE

        def kept() -> dict[str, int] | None:
            uses = mesh.json("describe", "node", "alone")["storage"]
            return next((e for e in uses if e["kind"] == "blobs" and e["bytes"]), None)

        found = eventually(60, "describe node shows the blobs", kept)
        assert found["bytes"] >= SIZE
