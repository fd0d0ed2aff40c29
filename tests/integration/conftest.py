"""Fixtures for tests on real processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster import Cluster
from mesh import Mesh


@pytest.fixture(scope="session")
def shared_mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """One mesh for every test that only deploys and calls. Names are unique per test."""
    home = tmp_path_factory.mktemp("mesh")
    with Mesh(state=home / "callmesh" / "default").running() as mesh:
        yield mesh


@pytest.fixture(scope="module")
def file_mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """A mesh of one file's own, for whoever minds what else is on it."""
    home = tmp_path_factory.mktemp("mesh")
    with Mesh(state=home / "callmesh" / "default").running() as mesh:
        yield mesh


@pytest.fixture
def mesh(tmp_path: Path) -> Iterator[Mesh]:
    """A mesh of this test's own, for whoever kills something."""
    with Mesh(state=tmp_path / "callmesh" / "default").running() as own:
        yield own


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A server and three nodes of one file's own, for tests that only look and deploy."""
    with Cluster(tmp_path_factory.mktemp("cluster")).running() as shared:
        yield shared


@pytest.fixture
def own_cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A server and three nodes of this test's own, for whoever kills something."""
    with Cluster(tmp_path).running(lease=3) as own:
        yield own
