"""Names: what is one, and that a mesh name is read back as it was written."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callmesh_wire import names

PART = st.from_regex(r"[a-z0-9]+(-[a-z0-9]+)?", fullmatch=True).filter(lambda s: len(s) <= 63)


@given(PART, PART, PART)
def test_a_mesh_name_is_read_back(project: str, domain: str, name: str) -> None:
    full = names.AppName(project, domain, name)
    assert names.AppName.from_mesh_name(full.mesh_name) == full


def test_the_default_scope_is_left_out() -> None:
    assert names.AppName("default", "development", "api").mesh_name == "api"
    assert names.AppName("shop", "production", "api").mesh_name == "api--production--shop"


@pytest.mark.parametrize("text", ["", "A", "a_b", "a--b", "-a", "a-", "a.b", "a b", "é", "x" * 64])
def test_what_is_not_an_app_name_is_refused_with_a_sentence(text: str) -> None:
    with pytest.raises(names.NameProblem, match="must be"):
        names.check_app(text)


@pytest.mark.parametrize("text", ["a--b", "a--b--c--d", "a--B--c"])
def test_what_is_not_a_mesh_name_is_refused(text: str) -> None:
    with pytest.raises(names.NameProblem):
        names.AppName.from_mesh_name(text)


def test_a_task_is_named_for_environment_and_function() -> None:
    assert names.task_name("my_env-2", "_do") == "my_env-2._do"
    with pytest.raises(names.NameProblem):
        names.task_name("env", "not a function")
