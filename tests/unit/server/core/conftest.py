"""Makes `core_world` importable for the tests beside it."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def core():
    """A server core with one empty node `n1` that has reported everything."""
    from core_world import Core

    core = Core()
    core.join()
    return core
