"""``--seeds N``: how many simulations to play, from ``--first-seed`` on."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

DEFAULT_SEEDS = 1000
# A test plays so many: xdist hands out tests.
CHUNK = 25
# Those of the inner loop; the others are marked slow.
FAST_SEEDS = 150


def pytest_addoption(parser):
    parser.addoption("--seeds", type=int, default=DEFAULT_SEEDS, help="simulations to play")
    parser.addoption("--first-seed", type=int, default=0, help="the first one's seed")


def pytest_generate_tests(metafunc):
    if "seeds" in metafunc.fixturenames:
        # Not registered where pytest was not pointed at this folder itself.
        first = metafunc.config.getoption("--first-seed", 0)
        count = metafunc.config.getoption("--seeds", DEFAULT_SEEDS)
        metafunc.parametrize("seeds", list(_chunks(first, first + count)))


def _chunks(first, end):
    for begin in range(first, end, CHUNK):
        seeds = range(begin, min(begin + CHUNK, end))
        marks = [] if begin < FAST_SEEDS else [pytest.mark.slow]
        yield pytest.param(seeds, id=f"{seeds.start}-{seeds.stop - 1}", marks=marks)
