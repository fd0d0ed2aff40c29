"""Lengths of time as people read them."""

from __future__ import annotations

import pytest

from callmesh.cli.spans import span


@pytest.mark.parametrize(
    ("length", "said"),
    [
        (-1, "0 ms"),
        (0.0123, "12 ms"),
        (0.9999, "1.0 s"),
        (9.96, "10 s"),
        (59.7, "1 m 0 s"),
        (599.8, "10 m 0 s"),
        (3599.6, "1 h 0 m"),
        (86399.9, "1 d 0 h"),
        (2 * 86400 + 3 * 3600, "2 d 3 h"),
    ],
)
def test_no_unit_is_full(length: float, said: str) -> None:
    assert span(length) == said
