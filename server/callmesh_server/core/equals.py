"""Runs whose inputs are equal: `Cache(serialize=True)` has them wait for the first.

The first executes. When it succeeds, those behind it end with its result; when
it does not, the next one executes.
"""

from __future__ import annotations

from collections.abc import Iterator

from callmesh_server.core import attempts
from callmesh_server.core.world import World
from callmeshpb.v1.scheduler_pb2 import Run


def first_of(world: World, run: Run) -> str:
    """The run that this one waits for, or "".

    One that is nested in the first does not wait, since the first waits for it.
    """
    if not run.cache_serialize:
        return ""
    first = next(iter(world.equals.get(run.cache_key, {})), run.name)
    return "" if first == run.name or first in _ancestors(world, run) else first


def followers(world: World, ended: Run) -> list[Run]:
    """The runs that wait for this one, which has just succeeded, in their order."""
    if not ended.cache_serialize or ended.cached_from:
        return []
    runs = (world.runs[name] for name in world.equals.get(ended.cache_key, {}))
    return [run for run in runs if attempts.is_waiting(run) and first_of(world, run) == ended.name]


def take_result(run: Run, of: Run) -> str:
    """Give a run, the caller's own, the result of an equal one; why it did not execute."""
    run.outputs.extend(of.outputs)
    run.outputs_is_tuple = of.outputs_is_tuple
    run.cached_from = of.cached_from or of.name
    return f"not executed: run `{run.cached_from}` had equal inputs"


def _ancestors(world: World, run: Run) -> Iterator[str]:
    above = run.parent
    while above:
        yield above
        parent = world.runs.get(above)
        above = parent.parent if parent is not None else ""
