"""`map`: one task over many arguments, in order."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator
from typing import Any

from callmesh import _children, _runtime, context, local
from callmesh._sync import aiterate, iterate
from callmesh.remote.task import TaskDetails
from callmesh.task import Task

# Runs in flight where the caller sets no limit: enough to keep any mesh busy.
WINDOW = 512


class Map:
    """``map(task, xs, ys)`` yields the results in order; ``map.aio`` for ``async for``.

    ``task`` may be a `functools.partial` of one. Inside a run each call is a
    child run, at most ``concurrency`` at once (0: no limit of ours), in a group
    called ``group_name``. An error is yielded in its result's place, or raised
    with ``return_exceptions=False``. Outside a run they are plain calls, one
    after another.
    """

    def __call__(
        self,
        task: Any,
        *iterables: Iterable[Any],
        group_name: str | None = None,
        concurrency: int = 0,
        return_exceptions: bool = True,
    ) -> Iterator[Any]:
        """Results in order, for blocking code."""
        target, bound, named = _parts(task)
        calls = [(*bound, *args) for args in zip(*iterables, strict=False)]
        attempt = _runtime.current()
        if attempt is not None and attempt.mode == "remote":
            results = _children_in_order(
                target, calls, named, group_name or target.name, concurrency
            )
            return _raising(iterate(results), return_exceptions=return_exceptions)
        done = _calls(target, calls, named, group_name or target.name)
        return _raising(done, return_exceptions=return_exceptions)

    async def aio(
        self,
        task: Any,
        *iterables: Iterable[Any],
        group_name: str | None = None,
        concurrency: int = 0,
        return_exceptions: bool = True,
    ) -> AsyncIterator[Any]:
        """Results in order, for async code."""
        target, bound, named = _parts(task)
        calls = [(*bound, *args) for args in zip(*iterables, strict=False)]
        attempt = _runtime.current()
        if attempt is not None and attempt.mode == "remote":
            results = aiterate(
                _children_in_order(target, calls, named, group_name or target.name, concurrency)
            )
        else:
            results = _one_by_one(target, calls, named, group_name or target.name)
        async for result in results:
            if isinstance(result, Exception) and not return_exceptions:
                raise result
            yield result


map_ = Map()


async def _children_in_order(
    task: Task[..., Any] | TaskDetails,
    calls: list[tuple[Any, ...]],
    named: dict[str, Any],
    group_name: str,
    concurrency: int,
) -> AsyncGenerator[Any, None]:
    """Child runs of many calls. For the bridge's loop; each step of it is a task of its own."""
    slots = asyncio.Semaphore(concurrency if concurrency > 0 else WINDOW)
    results: list[asyncio.Future[Any]] = [asyncio.get_running_loop().create_future() for _ in calls]

    async def one(args: tuple[Any, ...], result: asyncio.Future[Any]) -> None:
        async with slots:
            try:
                with context.group(group_name):
                    value = await _child(task, args, named)
            except Exception as problem:  # noqa: BLE001 - the child's error is a result here
                value = problem
            if not result.done():
                result.set_result(value)

    from callmesh._sync import bridge

    workers = [
        bridge().group.create_task(one(args, result))
        for args, result in zip(calls, results, strict=True)
    ]
    try:
        for result in results:
            yield await result
    finally:
        for worker in workers:
            worker.cancel()


async def _child(
    task: Task[..., Any] | TaskDetails, args: tuple[Any, ...], named: dict[str, Any]
) -> Any:
    if isinstance(task, TaskDetails):
        return await _children.acall_remote(task, args, named)
    return await _children.acall(task, args, named)


async def _one_by_one(
    task: Task[..., Any] | TaskDetails,
    calls: list[tuple[Any, ...]],
    named: dict[str, Any],
    group_name: str,
) -> AsyncIterator[Any]:
    for args in calls:
        try:
            with context.group(group_name):
                result = await (task.aio if isinstance(task, Task) else task)(*args, **named)
        except Exception as problem:  # noqa: BLE001 - an error is a result here
            result = problem
        yield result


def _calls(
    task: Task[..., Any] | TaskDetails,
    calls: list[tuple[Any, ...]],
    named: dict[str, Any],
    group_name: str,
) -> Iterator[Any]:
    for args in calls:
        with context.group(group_name):
            result = _outcome(task, args, named)
        yield result


def _outcome(
    task: Task[..., Any] | TaskDetails, args: tuple[Any, ...], named: dict[str, Any]
) -> Any:
    try:
        result = task(*args, **named)
        return local.in_own_loop(result) if asyncio.iscoroutine(result) else result
    except Exception as problem:  # noqa: BLE001 - an error is a result here
        return problem


def _raising(results: Iterator[Any], *, return_exceptions: bool) -> Iterator[Any]:
    for result in results:
        if isinstance(result, Exception) and not return_exceptions:
            raise result
        yield result


def _parts(task: Any) -> tuple[Task[..., Any] | TaskDetails, tuple[Any, ...], dict[str, Any]]:
    bound: tuple[Any, ...] = ()
    named: dict[str, Any] = {}
    if isinstance(task, functools.partial):
        bound, named, task = task.args, dict(task.keywords), task.func
    if not isinstance(task, Task | TaskDetails):
        raise TypeError(f"`map` takes a task or a partial of one, not {task!r}")
    return task, bound, named
