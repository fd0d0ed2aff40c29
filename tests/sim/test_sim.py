"""The real cores of server and agent under accidents: see README.md."""

from __future__ import annotations

import pytest
from sim_run import play
from sim_story import story


def test_whatever_happens_the_mesh_keeps_its_promises(seeds):
    for seed in seeds:
        failure = play(seed)
        if failure is not None:
            pytest.fail(str(failure), pytrace=False)


def test_a_seed_tells_the_same_story_twice():
    assert story(7) == story(7)
    assert all(str(step) for seed in range(30) for step in story(seed))
