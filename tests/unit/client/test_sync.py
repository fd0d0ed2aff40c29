"""Both forms of a verb, from everywhere that they may be called."""

from __future__ import annotations

import asyncio
import contextvars
import os
import signal
import threading
import time
import traceback
from collections.abc import AsyncGenerator

import pytest

from callmesh import _sync, errors

flag: contextvars.ContextVar[str] = contextvars.ContextVar("flag", default="unset")


@_sync.verb
async def double(number: int) -> int:
    """Twice a number."""
    await asyncio.sleep(0)
    return number * 2


@_sync.verb
async def who() -> int:
    return threading.get_ident()


@_sync.verb
async def seen_flag() -> str:
    return flag.get()


@_sync.flow
async def count(limit: int) -> AsyncGenerator[int, None]:
    for number in range(limit):
        yield number


class Box:
    def __init__(self, value: int) -> None:
        self.value = value

    @_sync.method
    async def get(self, extra: int = 0) -> int:
        return self.value + extra

    @_sync.class_method
    @classmethod
    async def of(cls, value: int) -> Box:
        return cls(value)

    @_sync.class_flow
    @classmethod
    async def many(cls, limit: int) -> AsyncGenerator[Box, None]:
        for number in range(limit):
            yield cls(number)


def test_a_verb_blocks_outside_a_loop() -> None:
    assert double(2) == 4
    assert double.__doc__ == "Twice a number."


async def test_a_verb_blocks_and_is_awaited_inside_a_loop() -> None:
    assert double(2) == 4
    assert await double.aio(3) == 6


async def test_both_forms_run_on_one_other_thread() -> None:
    threads = {who(), await who.aio(), await asyncio.to_thread(who)}
    assert len(threads) == 1
    assert threading.get_ident() not in threads


def test_the_callers_context_is_seen() -> None:
    token = flag.set("set")
    try:
        assert seen_flag() == "set"
    finally:
        flag.reset(token)


async def test_a_flow_is_iterated_both_ways() -> None:
    assert list(count(3)) == [0, 1, 2]
    assert [number async for number in count.aio(3)] == [0, 1, 2]


def test_a_flow_that_is_left_early_is_closed() -> None:
    for number in count(1000):
        if number == 2:
            break
    assert double(1) == 2


async def test_methods_and_class_methods_have_both_forms() -> None:
    box = Box.of(5)
    assert box.get(extra=1) == 6
    assert await box.get.aio() == 5
    assert (await Box.of.aio(7)).value == 7
    assert [each.value for each in Box.many(2)] == [0, 1]


def test_blocking_on_the_bridges_own_thread_is_refused() -> None:
    async def body() -> int:
        return double(1)

    with pytest.raises(_sync.BlockingInLoopError, match=r"use its `\.aio` form"):
        _sync.bridge().run(body())


async def test_cancelling_the_waiter_cancels_the_body() -> None:
    ended = threading.Event()

    async def body() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    waiter = asyncio.gather(_sync.bridge().arun(body()))
    await asyncio.sleep(0.05)
    waiter.cancel()
    assert await asyncio.to_thread(ended.wait, 5)


def test_an_interrupted_wait_cancels_the_body() -> None:
    ended = threading.Event()

    async def body() -> None:
        threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    with pytest.raises(KeyboardInterrupt):
        _sync.bridge().run(body())
    assert ended.wait(5)


async def test_a_body_that_is_cancelled_before_it_begins_wakes_its_thread() -> None:
    awaited = _sync._Awaited(double.aio(1))
    awaited.start()
    awaited.cancel()
    await asyncio.to_thread(awaited.wait)
    with pytest.raises(asyncio.CancelledError):
        awaited.result()


def test_an_interrupted_iteration_closes_its_generator() -> None:
    ended = threading.Event()

    async def body() -> AsyncGenerator[int, None]:
        yield 1
        threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.01)
            ended.set()

    with pytest.raises(KeyboardInterrupt):
        list(_sync.iterate(body()))
    assert ended.wait(5)


def test_a_forked_child_makes_its_own_bridge() -> None:
    assert double(1) == 2
    child = os.fork()
    if child == 0:
        os._exit(double(20))
    deadline = time.monotonic() + 10
    ended = 0
    while not ended and time.monotonic() < deadline:
        ended, code = os.waitpid(child, os.WNOHANG)
    assert ended == child
    assert os.waitstatus_to_exitcode(code) == 40
    assert double(1) == 2


@_sync.verb
async def refuse() -> None:
    try:
        {}["missing"]
    except KeyError:
        raise errors.DeploymentError("app `a` has nothing to run: give it `args`")  # noqa: B904 - the case


@_sync.verb
async def divide() -> float:
    return 1 / 0


def test_an_error_of_ours_says_where_it_was_called_and_an_accident_all() -> None:
    with pytest.raises(errors.DeploymentError) as refused:
        refuse()
    frames = [each.name for each in traceback.extract_tb(refused.value.__traceback__)]
    assert "refuse" not in frames and len(frames) <= 4
    assert "KeyError" not in "".join(traceback.format_exception(refused.value))
    with pytest.raises(ZeroDivisionError) as accident:
        divide()
    assert traceback.extract_tb(accident.value.__traceback__)[-1].name == "divide"
