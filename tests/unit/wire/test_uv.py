"""What `uv` says, in one line."""

from __future__ import annotations

import pytest

from callmesh_wire import uv

NEW = """warning: something else
error: No solution found when resolving dependencies
  cause: Because humanize==99 does not exist and you require
         humanize==99, we can conclude that your requirements are unsatisfiable.

hint: try another
"""
OLD = """  × No solution found when resolving dependencies:
  ╰─▶ Because humanize==99 does not exist
      and you require it, there is none.
"""
WHOLE = (
    "Because humanize==99 does not exist and you require humanize==99, we can conclude that your "
    "requirements are unsatisfiable. hint: try another"
)
AWAY = """error: Failed to fetch: `https://me:hidden@index.example/simple/x/`
  Caused by: dns error
  Caused by: dns error
"""


@pytest.mark.parametrize(
    ("output", "said"),
    [
        (NEW, WHOLE),
        (OLD, "Because humanize==99 does not exist and you require it, there is none"),
        (AWAY, "Failed to fetch: `https://index.example/simple/x/` dns error"),
        ("one\ntwo\nthree\nfour\n", "two three four"),
        ("", "it gave no reason"),
    ],
)
def test_the_reason_is_found_in_what_it_wrote(output: str, said: str) -> None:
    assert uv.reason(output) == said


def test_a_long_reason_is_cut() -> None:
    assert len(uv.reason("error: " + "x" * 9999)) < 2000
