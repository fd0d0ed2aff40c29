"""Which Host and Origin headers the pages answer to."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callmesh_server.web.hosts import app_of, host_name, is_ours, origin_is_ours


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("localhost:7480", "localhost"),
        ("LocalHost", "localhost"),
        ("127.0.0.1:80", "127.0.0.1"),
        ("[::1]:7480", "[::1]"),
        ("[::1]", "[::1]"),
        ("shop.localhost.:7480", "shop.localhost."),
        ("shop.localhost.", "shop.localhost"),
        ("", ""),
    ],
)
def test_host_name_drops_the_port(header: str, name: str) -> None:
    assert host_name(header) == name.removesuffix(".")


@pytest.mark.parametrize(
    "name", ["localhost", "127.0.0.1", "[::1]", "a.localhost", "a--b--c.localhost"]
)
def test_names_of_this_machine_are_ours(name: str) -> None:
    assert is_ours(name)


@pytest.mark.parametrize(
    "name",
    ["", "example.com", "localhost.example.com", ".localhost", "notlocalhost", "10.0.0.1", "::1"],
)
def test_other_names_are_not_ours(name: str) -> None:
    assert not is_ours(name)


def test_the_app_is_what_stands_before_localhost() -> None:
    assert app_of("shop--prod--acme.localhost") == "shop--prod--acme"
    assert app_of("localhost") == ""


@pytest.mark.parametrize(
    ("origin", "ours"),
    [
        ("http://localhost:7480", True),
        ("http://dashboard.localhost:7480", True),
        ("http://[::1]:7480", True),
        ("null", False),
        ("http://evil.example", False),
        ("http://localhost.evil.example", False),
        ("file://localhost", False),
    ],
)
def test_origins(origin: str, ours: bool) -> None:
    assert origin_is_ours(origin) is ours


@given(st.text())
def test_no_header_raises(text: str) -> None:
    is_ours(host_name(text))
