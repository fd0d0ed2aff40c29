"""The process that keeps a locally served app, where its script has been killed."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path


def test_the_folder_goes_where_the_script_died_before_its_keeper_began(tmp_path: Path) -> None:
    folder = tmp_path / "callmesh-local-x"
    folder.mkdir()
    (folder / "endpoints.json").write_text("{}")
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    own, keepers = socket.socketpair()
    with own, keepers:
        own.close()
        done = subprocess.run(
            [
                *(sys.executable, "-P", "-m", "callmesh._keeper"),
                *(str(ended.pid), str(keepers.fileno()), "5"),
                *(sys.executable, "-c", "import time; time.sleep(60)"),
            ],
            env={**os.environ, "CALLMESH_LOCAL_ENDPOINTS": str(folder / "endpoints.json")},
            pass_fds=[keepers.fileno()],
            timeout=40,
            check=False,
        )
    assert done.returncode == 128 + 15
    assert not folder.exists()
