"""Runs in this process: the same checks, names, phases and errors as on the mesh."""

from __future__ import annotations

import asyncio
import bdb
import os
from datetime import timedelta
from typing import Any

import pytest

import callmesh as flyte
from callmesh import errors
from callmesh._failure import user_traceback

QUICK = flyte.RetryStrategy(2, flyte.Backoff(timedelta(0)))
env = flyte.TaskEnvironment(name="here")
seen: list[Any] = []


@env.task
async def later(x: int) -> int:
    return x + 1


@env.task
def now(x: int) -> int:
    return x * 2


@env.task
async def tree(n: int) -> list[int]:
    with flyte.group("leaves"):
        found = [value async for value in flyte.map.aio(now, range(n))]
    return [*found, await later(1), await now.aio(5)]


@env.task
def sync_tree(n: int) -> int:
    return now(n) + sum(flyte.map(now, [1, 2]))


@env.task(retries=QUICK)
def flaky(until: int) -> int:
    number = flyte.ctx().attempt_number
    assert number is not None
    if number < until:
        raise ConnectionError(f"attempt {number}")
    return number


@env.task(retries=QUICK)
def stubborn() -> None:
    seen.append("stubborn")
    raise errors.NonRecoverableError("never")


@env.task
def pair() -> tuple[int, str]:
    return 1, "a"


@env.task
async def calls_sync() -> int:
    return now(1)


@env.task
def where() -> dict[str, str]:
    context = flyte.ctx()
    return {
        "run": str(context.run_name),
        "mode": str(context.mode),
        "custom": flyte.get_custom_context().get("k", ""),
    }


def test_a_run_has_a_name_of_its_own_and_a_phase() -> None:
    one, two = flyte.run(later, x=1), flyte.run(later, 1)
    assert one.outputs() == (2,)
    assert one.name != two.name
    assert one.id == one.name
    assert (one.phase, one.status, one.done()) == ("succeeded", "succeeded", True)
    assert one.wait() is None
    assert [update.status for update in one.watch()] == ["succeeded"]


async def test_it_runs_inside_a_loop_too() -> None:
    assert (await flyte.run.aio(tree, n=2)).outputs() == ([0, 2, 2, 10],)
    assert flyte.run(tree, n=1).outputs() == ([0, 2, 10],)
    assert await (await flyte.run.aio(now, 3)).outputs.aio() == (6,)


def test_tasks_call_tasks() -> None:
    assert flyte.run(tree, n=3).outputs() == ([0, 2, 4, 2, 10],)
    assert flyte.run(sync_tree, n=3).outputs() == (12,)


def test_a_tuple_has_several_outputs() -> None:
    outputs = flyte.run(pair).outputs()
    assert (outputs, outputs.o1, outputs.named_outputs) == ((1, "a"), "a", {"o0": 1, "o1": "a"})


def test_retries_are_made() -> None:
    run = flyte.run(flaky, until=3)
    assert (run.outputs(), run.attempts) == ((3,), 3)  # type: ignore[attr-defined]
    seen.clear()
    with pytest.raises(errors.TaskFailedError):
        flyte.run(stubborn)
    assert seen == ["stubborn"]


def test_a_failure_keeps_the_original_exception() -> None:
    with pytest.raises(errors.RuntimeUserError, match="ConnectionError: attempt 3") as caught:
        flyte.run(flaky, until=9)
    assert caught.value.code == "ConnectionError"
    assert isinstance(caught.value.__cause__, ConnectionError)


def test_arguments_and_results_are_checked() -> None:
    with pytest.raises(TypeError, match="`x` must be `int`"):
        flyte.run(now, x="1")
    with pytest.raises(ValueError, match="`x` is missing"):
        flyte.run(now)
    with pytest.raises(TypeError, match="`run` takes a task"):
        flyte.run(print)
    with pytest.raises(ValueError, match="can only be run in remote mode"):
        flyte.run(flyte.remote.Task.get("x"))


def test_a_sync_task_is_not_called_from_async_code() -> None:
    with pytest.raises(errors.TaskFailedError, match=r"await now\.aio") as caught:
        flyte.run(calls_sync)
    assert isinstance(caught.value.__cause__, errors.SyncTaskCallInAsyncContextError)


def test_the_context_is_known_inside_and_false_outside() -> None:
    assert not flyte.ctx()
    assert flyte.ctx().run_name is None
    runner = flyte.with_runcontext("local", name="mine", custom_context={"k": "v"})
    assert runner.run(where).outputs() == ({"run": "mine", "mode": "local", "custom": "v"},)
    assert flyte.get_custom_context() == {}


def test_a_run_tells_as_much_as_one_of_the_mesh() -> None:
    run = flyte.run(now, x=3)
    assert run.inputs() == {"x": 3}
    assert run.raw_phase == run.pb2.phase == run.details().raw_phase
    assert (run.details().name, run.action.task_name) == (run.name, "here.now")
    assert run.pb2.HasField("started_at") and run.pb2.HasField("ended_at")


def test_variables_are_set_for_the_run_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OVER", "before")
    surroundings = flyte.TaskEnvironment(name="surroundings", env_vars={"OVER": "env", "OWN": "1"})

    @surroundings.task
    def read() -> list[str]:
        return [os.environ.get(name, "") for name in ("OVER", "OWN", "GIVEN")]

    given = flyte.with_runcontext(env_vars={"GIVEN": "2"})
    assert given.run(read).outputs() == (["env", "1", "2"],)
    assert flyte.run(read.override(env_vars={"OVER": "task"})).outputs() == (["task", "1", ""],)
    assert (os.environ["OVER"], "OWN" in os.environ) == ("before", False)


def test_the_group_of_a_local_map() -> None:
    @env.task
    def grouped(x: int) -> str:
        return str(flyte.ctx().group_data)

    @env.task
    def outer() -> list[str]:
        return list(flyte.map(grouped, [1], group_name="mine"))

    assert flyte.run(outer).outputs() == (["mine"],)


def test_map_outside_a_run_is_plain_calls() -> None:
    assert list(flyte.map(now, [1, 2])) == [2, 4]
    assert list(flyte.map(later, [1, 2])) == [2, 3]
    from functools import partial

    def add(a: int, b: int) -> int:
        return a + b

    assert list(flyte.map(partial(env.task(add), 10), [1, 2])) == [11, 12]
    broken = list(flyte.map(now, [1, None, 3]))
    assert isinstance(broken[1], TypeError)
    with pytest.raises(TypeError):
        list(flyte.map(now, [None], return_exceptions=False))
    with pytest.raises(TypeError, match="`map` takes a task"):
        flyte.map(print, [1])


def test_custom_context_nests() -> None:
    with flyte.custom_context(a="1"), flyte.custom_context(b="2"):
        assert flyte.get_custom_context() == {"a": "1", "b": "2"}
    assert flyte.get_custom_context() == {}


def test_plain_calls_stay_plain() -> None:
    assert now(2) == 4
    assert asyncio.run(later(2)) == 3


def test_a_failure_tells_of_the_users_code_alone() -> None:
    env = flyte.TaskEnvironment(name="told")

    @env.task
    async def fails() -> None:
        raise ValueError("burnt")

    @env.task
    def stops() -> None:
        raise bdb.BdbQuit

    with pytest.raises(errors.TaskFailedError, match="burnt") as failed:
        flyte.with_runcontext(mode="local").run(fails)
    told = user_traceback(failed.value.__cause__ or failed.value)
    assert told.count("Traceback") == 1 and "event loop" not in told
    with pytest.raises(errors.TaskFailedError, match="callmesh run --local"):
        flyte.with_runcontext(mode="local").run(stops)
