"""The simulator finds bugs that were put in on purpose: see bugs.py, and the table in README.md."""

from __future__ import annotations

from pathlib import Path

import pytest
from bugs import BUGS, SEEDS, found_by
from sim_run import play_steps
from sim_story import story

README = (Path(__file__).parent / "README.md").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name.replace(" ", "-"))
def test_a_bug_that_was_put_in_is_found(bug):
    found = found_by(bug, range(SEEDS))
    assert found is not None, f"{SEEDS} histories did not find it: {bug.breaks}"
    seed, _ = found
    # Without it the same history is sound: it was the bug that was found.
    assert play_steps(seed, story(seed)) is None


def test_the_readme_lists_every_bug():
    listed = [line.split("|")[1].strip() for line in README.splitlines() if line.startswith("| ")]
    assert listed[1:] == [bug.name for bug in BUGS]
