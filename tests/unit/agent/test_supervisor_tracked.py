"""How soon a process is started again."""

from __future__ import annotations

import pytest

from callmesh_agent.supervisor.tracked import HEALTHY_SECONDS, Tracked, spelled
from callmeshpb.v1 import supervisor_pb2


def test_restarts_slow_down_and_a_long_life_makes_up_for_it() -> None:
    dead = Tracked(supervisor_pb2.ProcessRecord(), born=0.0)
    assert [dead.delay(1.0) for _ in range(4)] == [0.0, 0.1, 0.2, 0.4]
    assert [dead.delay(1.0) for _ in range(5)][-1] == 5.0
    assert dead.delay(HEALTHY_SECONDS) == 0.0
    assert dead.delay(1.0) == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("status", "words"), [(None, "status unknown"), (0, "exit code 0"), (-9, "signal 9")]
)
def test_a_status_in_words(status: int | None, words: str) -> None:
    assert spelled(status) == words
