"""Order, cycles and names of what is deployed together."""

from __future__ import annotations

import pytest

import callmesh as flyte
from callmesh import graph
from callmesh.errors import DeploymentError


def env(name: str, *depends_on: flyte.Environment) -> flyte.TaskEnvironment:
    return flyte.TaskEnvironment(name=name, depends_on=depends_on)


def test_each_comes_after_what_it_depends_on_and_once() -> None:
    base = env("base")
    left, right = env("left", base), env("right", base)
    top = env("top", left, right, left)
    assert [each.name for each in graph.order([top, base])] == ["base", "left", "right", "top"]


def test_a_cycle_is_named() -> None:
    a, b, c = env("a"), env("b"), env("c")
    a.add_dependency(b)
    b.add_dependency(c)
    c.add_dependency(b)
    with pytest.raises(graph.GraphProblem, match="in a circle: b → c → b; remove one"):
        graph.order([a])
    assert issubclass(graph.GraphProblem, DeploymentError)


def test_two_environments_of_one_name_are_refused() -> None:
    with pytest.raises(graph.GraphProblem, match="two environments are called `same`"):
        graph.order([env("same"), env("same")])


def test_an_app_and_a_task_environment_may_share_a_name() -> None:
    app = flyte.app.AppEnvironment(name="same", args=["true"])
    assert len(graph.order([env("same", app)])) == 2
