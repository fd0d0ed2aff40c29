"""Mesh ports: stable, tombstoned, reused last."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callmesh_server.ports import COUNT, FIRST, LAST, Tombstone, assign
from callmesh_wire.errors import ExhaustedError
from callmesh_wire.names import AppName

WEB = AppName("default", "development", "web")
API = AppName("default", "development", "api")


def test_the_first_port_is_at_the_meshs_own_offset():
    assert assign(WEB, {}, {}, set(), 17) == FIRST + 17


def test_an_app_keeps_its_port_whatever_happens():
    assert assign(WEB, {WEB: 20_500}, {}, {20_500}, 0) == 20_500


def test_ports_of_others_and_in_conflict_are_avoided():
    assert assign(WEB, {API: FIRST}, {}, {FIRST + 1}, 0) == FIRST + 2


def test_the_search_goes_round_the_end_of_the_range():
    assert assign(WEB, {}, {}, {LAST}, COUNT - 1) == FIRST


def test_a_deleted_apps_port_is_not_given_to_another():
    assert assign(WEB, {}, {FIRST: Tombstone(API, 1.0)}, set(), 0) == FIRST + 1


def test_a_deleted_app_gets_its_own_port_back():
    assert assign(WEB, {}, {20_700: Tombstone(WEB, 1.0)}, set(), 0) == 20_700


def test_its_own_port_is_not_given_back_when_somebody_else_has_it():
    assert assign(WEB, {API: 20_700}, {20_700: Tombstone(WEB, 1.0)}, set(), 0) == FIRST


def test_the_oldest_tombstone_is_reused_when_nothing_else_is_left():
    tombstones = {port: Tombstone(API, float(port)) for port in range(FIRST, LAST + 1)}
    tombstones[25_000] = Tombstone(API, 1.0)
    assert assign(WEB, {}, tombstones, set(), 3) == 25_000


def test_no_port_left_says_so():
    with pytest.raises(ExhaustedError, match="delete an app"):
        assign(WEB, {}, {}, set(range(FIRST, LAST + 1)), 0)


@given(st.integers(0, COUNT - 1), st.sets(st.integers(FIRST, LAST), max_size=50))
def test_a_port_is_in_the_range_and_free(start, conflicts):
    port = assign(WEB, {}, {}, conflicts, start)
    assert FIRST <= port <= LAST
    assert port not in conflicts
