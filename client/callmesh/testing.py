"""A real mesh for a test: started in under a second, ended with nothing left.

In a ``conftest.py``::

    pytest_plugins = ["callmesh.testing"]

and in a test::

    def test_the_greeting(callmesh_mesh):
        callmesh_mesh.deploy(greeter_env)
        assert httpx.get(f"{callmesh_mesh.endpoint('greeter')}/hello").text == "hello"
        assert flyte.run(shout, text="hello").outputs()[0] == "HELLO"

The mesh is one for the whole test session (one for each worker of
pytest-xdist) and has a state folder of its own; ``init_from_config()`` has been
called for it. `running` gives one without pytest. Needs ``callmesh[all]``.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from callmesh.errors import InitializationError

if TYPE_CHECKING:
    from callmesh.deploy import Deployment

READY_TIMEOUT = 60.0


@dataclass(frozen=True, slots=True)
class TestMesh:
    """A running mesh of its own."""

    __test__ = False

    state_dir: Path

    def deploy(self, *environments: Any, **options: Any) -> list[Deployment]:
        """`callmesh.deploy`, and wait until every app takes calls.

        Raises `DeploymentError` with the reason and the app's last lines.
        """
        from callmesh.deploy import deploy

        deployments = deploy(*environments, **options)
        for each in deployments:
            each.wait(timeout=READY_TIMEOUT)
        return list(deployments)

    def endpoint(self, app: str) -> str:
        """The base URL of a deployed app, for code. Raises `AppNotFoundError`."""
        from callmesh.remote import App

        return str(App.get(app).endpoint)


@contextmanager
def running() -> Iterator[TestMesh]:
    """A mesh for the block; afterwards no process, port or file of it is left.

    Raises `InitializationError` with what it said when it could not start.
    """
    with tempfile.TemporaryDirectory(prefix="callmesh-") as folder:
        state = Path(folder) / "state"
        before = os.environ.get("CALLMESH_STATE_DIR")
        os.environ["CALLMESH_STATE_DIR"] = str(state)
        try:
            _mesh("up", "--detach", "--port=0", "--ingress-port=0")
            try:
                yield TestMesh(state)
            finally:
                _mesh("down", "--purge")
        finally:
            if before is None:
                del os.environ["CALLMESH_STATE_DIR"]
            else:
                os.environ["CALLMESH_STATE_DIR"] = before


@pytest.fixture(scope="session")
def callmesh_mesh() -> Iterator[TestMesh]:
    """The fixture: a running mesh, which `init_from_config` has been told of."""
    from callmesh.settings import current, init_from_config, use

    with running() as mesh:
        settings = current()
        init_from_config()
        try:
            yield mesh
        finally:
            use(settings)


def _mesh(*arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "callmesh_up", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise InitializationError("MeshNotStarted", "system", done.stderr.strip())


__all__ = ["TestMesh", "callmesh_mesh", "running"]
