"""What a deploy names of other apps: whether it exists, and that nothing goes round."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping

from callmesh_wire.names import AppName
from callmeshpb.v1 import scheduler_pb2

Specs = scheduler_pb2.AppSpec | scheduler_pb2.TaskEnvironmentSpec


def unknown(
    specs: Iterable[Specs], known: Mapping[AppName, object], deployed: Mapping[AppName, object]
) -> list[str]:
    """A sentence for every dependency that is neither deployed now nor there already."""
    sentences = []
    for spec in specs:
        kind = "app" if isinstance(spec, scheduler_pb2.AppSpec) else "environment"
        for name in spec.depends_on:
            target = AppName(spec.project, spec.domain, name)
            if target not in known and target not in deployed:
                sentences.append(
                    f"{kind} `{spec.name}` depends on app `{name[:70]}`, which is neither in this "
                    f"deploy nor in {spec.project}/{spec.domain}: deploy it too, or before"
                )
        if isinstance(spec, scheduler_pb2.AppSpec):
            sentences += _unknown_endpoints(spec, {*known, *deployed})
    return sentences


def _unknown_endpoints(spec: scheduler_pb2.AppSpec, known: set[AppName]) -> list[str]:
    sentences = []
    for parameter in spec.parameters:
        name = parameter.app_endpoint
        if not name or AppName(spec.project, spec.domain, name) in known:
            continue
        near = difflib.get_close_matches(name, [each.name for each in known], n=1)
        sentences.append(
            f"parameter `{parameter.name}` of app `{spec.name}` is the endpoint of app "
            f"`{name[:70]}`, which is neither in this deploy nor in "
            f"{spec.project}/{spec.domain}: "
            + (f"did you mean `{near[0]}`?" if near else "deploy it too, or before")
        )
    return sentences


def cycle(edges: Mapping[AppName, Iterable[AppName]]) -> list[AppName]:
    """One cycle of the graph, its first app repeated at the end; [] if there is none."""
    done: set[AppName] = set()
    for start in sorted(edges):
        path: list[AppName] = []
        on_path: set[AppName] = set()
        stack: list[tuple[AppName, bool]] = [(start, False)]
        while stack:
            name, leaving = stack.pop()
            if leaving:
                path.pop()
                on_path.discard(name)
                done.add(name)
                continue
            if name in on_path:
                return [*path[path.index(name) :], name]
            if name in done or name not in edges:
                continue
            path.append(name)
            on_path.add(name)
            stack.append((name, True))
            stack.extend((each, False) for each in edges[name])
    return []
