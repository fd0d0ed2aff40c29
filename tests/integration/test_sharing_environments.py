"""An environment is built on the nodes that need it, once each, from what they fetch themselves."""

from __future__ import annotations

import http.server
import subprocess
import sys
import threading
import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from importlib.metadata import requires
from pathlib import Path

import pytest
from cluster import Cluster

pytestmark = pytest.mark.slow

APP = """
import callmesh as flyte

image = flyte.Image.from_debian_base().with_pip_packages(
    "tinywords", extra_args="--no-index --find-links http://10.77.0.1:8123/"
)
env = flyte.app.AppEnvironment(
    "tiny", requires_auth=False, image=image, scaling=flyte.app.Scaling(replicas=2),
)


@env.server
def serve():
    import http.server
    import os
    import tinywords

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(f"{tinywords.VALUE} {os.environ['CALLMESH_NODE']}".encode())

        def log_message(self, *_):
            pass

    http.server.ThreadingHTTPServer(("127.0.0.1", env.get_port()), Handler).serve_forever()
"""


def wheel(folder: Path) -> str:
    """A package that only this folder has; the file's name."""
    about, name = "tinywords-1.0.dist-info", "tinywords-1.0-py3-none-any.whl"
    with zipfile.ZipFile(folder / name, "w") as made:
        made.writestr("tinywords.py", "VALUE = 7\n")
        made.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: tinywords\nVersion: 1.0\n")
        made.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        made.writestr(f"{about}/RECORD", "")
    return name


def download_own_needs(folder: Path) -> None:
    """What callmesh itself needs in every environment: the nodes reach no package index."""
    needs = [each for each in requires("callmesh") or () if "extra ==" not in each]
    line = [sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check",
            "--only-binary", ":all:", "-d", str(folder), *needs]  # fmt: skip
    subprocess.run(line, check=True, timeout=100)


class Counting(http.server.SimpleHTTPRequestHandler):
    """Serves a folder, and counts who has fetched what."""

    fetched: Counter[tuple[str, str]] = Counter()

    def do_GET(self) -> None:
        self.fetched[self.client_address[0], self.path.lstrip("/")] += 1
        super().do_GET()

    def log_message(self, *_: object) -> None:
        """Nothing on stderr."""


@contextmanager
def served(cluster: Cluster, folder: Path) -> Iterator[Counter[tuple[str, str]]]:
    """The folder on the server's host; who has fetched what."""
    Counting.fetched.clear()
    handler = partial(Counting, directory=str(folder))
    with cluster.server.namespace.inside():
        server = http.server.ThreadingHTTPServer((cluster.server.address, 8123), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield Counting.fetched
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def built(cluster: Cluster) -> dict[str, list[int]]:
    """The environments of each node, by what tells one build from another."""
    return {
        name: [
            (found.parent / "pyvenv.cfg").stat().st_ino
            for found in (host.state / "agent" / "environments").glob("*/meta.json")
        ]
        for name, host in cluster.nodes.items()
    }


def test_each_node_that_needs_it_fetches_and_builds_once(cluster: Cluster, tmp_path: Path) -> None:
    packages = tmp_path / "packages"
    packages.mkdir()
    download_own_needs(packages)
    name = wheel(packages)
    file = tmp_path / "tiny.py"
    file.write_text(APP)
    with served(cluster, packages) as fetched:
        cluster.cli("deploy", str(file), timeout=110)
        homes = {each["node"] for each in cluster.instances("tiny")}
        assert len(homes) == 2
        before = built(cluster)
        assert {node for node, found in before.items() if len(found) == 1} >= homes
        assert cluster.nodes["n1"].get("tiny")[1].split()[0] == "7"
        file.write_text(f"{APP}\n# A new revision, of the same environment.\n")
        cluster.cli("deploy", str(file), timeout=110)
        after = built(cluster)
        assert all(after[node] == found for node, found in before.items() if found)
    addresses = {host.address: node for node, host in cluster.nodes.items()}
    whole = {
        addresses[caller]: times
        for (caller, path), times in fetched.items()
        if path == name and caller in addresses
    }
    assert set(whole) >= homes
    assert set(whole.values()) == {1}, whole
