"""What `deploy` says is ready is what the next call reaches."""

from __future__ import annotations

import pytest
from mesh import Mesh

pytestmark = pytest.mark.slow


def test_the_call_after_a_deploy_reaches_what_was_deployed(shared_mesh: Mesh) -> None:
    turns = 30
    told = shared_mesh.python("tests/integration/projects/turns.py", str(turns)).splitlines()
    assert told == [f'{number} 200 "{number}"' for number in range(turns)]
