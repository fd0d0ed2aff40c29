"""``--seeds N``: how many simulations to play, from ``--first-seed`` on."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

DEFAULT_SEEDS = 50


def pytest_addoption(parser):
    parser.addoption("--seeds", type=int, default=DEFAULT_SEEDS, help="simulations to play")
    parser.addoption("--first-seed", type=int, default=0, help="the first one's seed")


def pytest_generate_tests(metafunc):
    if "seed" in metafunc.fixturenames:
        # Not registered where pytest was not pointed at this folder itself.
        first = metafunc.config.getoption("--first-seed", 0)
        count = metafunc.config.getoption("--seeds", DEFAULT_SEEDS)
        metafunc.parametrize("seed", range(first, first + count))
