"""Which environments belong together, and in which order they start."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from callmesh.environment import Environment
from callmesh.errors import DeploymentError


class GraphProblem(DeploymentError, ValueError):
    """Environments that cannot be deployed together. ``str()`` names them."""


def order(roots: Iterable[Environment]) -> list[Environment]:
    """The roots and all that they depend on: each after its dependencies, each once.

    Raises `GraphProblem` for a cycle, named as ``a → b → a``, and for two
    environments of one name.
    """
    ordered: list[Environment] = []
    path: list[Environment] = []
    seen: set[int] = set()

    def visit(environment: Environment) -> None:
        if any(environment is each for each in path):
            start = next(i for i, each in enumerate(path) if each is environment)
            cycle = " → ".join(each.name for each in (*path[start:], environment))
            raise GraphProblem(
                f"the environments depend on each other in a circle: {cycle}; "
                "remove one `depends_on` of them"
            )
        if id(environment) in seen:
            return
        path.append(environment)
        for each in environment.depends_on:
            visit(each)
        path.pop()
        seen.add(id(environment))
        ordered.append(environment)

    for root in roots:
        visit(root)
    _check_names(ordered)
    return ordered


def _check_names(environments: Sequence[Environment]) -> None:
    known: dict[tuple[bool, str], Environment] = {}
    for each in environments:
        key = (hasattr(each, "tasks"), each.name)
        other = known.setdefault(key, each)
        if other is not each:
            places = sorted({f"`{one.origin.module}`" for one in (other, each)})
            raise GraphProblem(
                f"two environments are called `{each.name}`, in {' and in '.join(places)}: "
                "rename one"
            )
