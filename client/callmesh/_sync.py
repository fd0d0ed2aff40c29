"""The only bridge from blocking code to the event loop.

Every verb is one async body. Its blocking form and its ``.aio`` form both run
the body on one background thread's loop, which is made at first use: so a
blocking call inside a running event loop cannot deadlock, and connections have
one loop for the life of the process. A forked child has no such thread, and
makes its own.
"""

from __future__ import annotations

import asyncio
import atexit
import functools
import os
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Hashable, Iterator
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, cast, overload

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")
T = TypeVar("T")

CLOSE_TIMEOUT = 2.0
# Where the errors of callmesh are defined.
OURS = ("callmesh.", "callmesh_wire.")


class BlockingInLoopError(RuntimeError):
    """A blocking call on the thread of callmesh's own event loop: it would wait for itself."""


class _Awaited(Generic[R]):
    """A coroutine on the background loop that a thread waits for.

    The thread is woken by the coroutine's last step itself. Futures chained
    from the loop to the thread would wake it two turns of the loop later, and a
    run crosses here twice.
    """

    def __init__(self, coroutine: Coroutine[Any, Any, R]) -> None:
        self._coroutine = coroutine
        self._ended = threading.Lock()
        self._ended.acquire()
        self._task: asyncio.Task[None]
        self._result: R
        self._problem: BaseException | None = None
        self._is_over = False

    def start(self) -> None:
        """Run it. On the loop, in the context of whoever waits."""
        # The thread that waits owns it, and cancels it when it waits no longer.
        self._task = asyncio.get_running_loop().create_task(self._run())
        self._task.add_done_callback(self._never_begun)

    def cancel(self) -> None:
        """Nobody waits. On the loop, after `start`."""
        self._task.cancel()

    def wait(self) -> None:
        """Return once it has ended. On the waiting thread."""
        self._ended.acquire()

    def result(self) -> R:
        """What it returned or raised, once it has ended."""
        if self._problem is None:
            return self._result
        if type(self._problem).__module__.startswith(OURS):
            # It says itself what is wrong: where inside callmesh helps nobody.
            self._problem.__traceback__ = None
            self._problem.__suppress_context__ = True
        try:
            raise self._problem
        finally:
            # The traceback holds this frame: no cycle is to be left behind.
            self._problem = None

    async def _run(self) -> None:
        try:
            self._result = await self._coroutine
        except BaseException as problem:  # noqa: BLE001 - raised again in the thread
            self._problem = problem
        finally:
            self._is_over = True
            self._ended.release()

    def _never_begun(self, _task: asyncio.Task[None]) -> None:
        """Wake the thread also where the task was cancelled before its first step."""
        if not self._is_over:
            self._coroutine.close()
            self._problem = asyncio.CancelledError()
            self._ended.release()


class Bridge:
    """One background thread with one loop.

    ``group`` owns what stands (streams that outlive a call); ``cells`` holds
    what exists once per loop (connections), by key; ``closers`` are awaited at
    the end of the process.
    """

    def __init__(self) -> None:
        self.cells: dict[Hashable, Any] = {}
        self.closers: list[Callable[[], Coroutine[Any, Any, None]]] = []
        self.group: asyncio.TaskGroup
        self.loop: asyncio.AbstractEventLoop
        self._stop: asyncio.Event
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._main, name="callmesh-loop", daemon=True)
        self._thread.start()
        self._ready.wait()

    def run(self, coroutine: Coroutine[Any, Any, R]) -> R:
        """Run a coroutine on the background loop and wait for its result.

        An interruption of the wait (Ctrl-C) cancels it.
        """
        if threading.get_ident() == self._thread.ident:
            coroutine.close()
            raise BlockingInLoopError(
                "a blocking call was made on the thread of callmesh's own event loop, where it "
                "would wait for itself: use its `.aio` form and await it"
            )
        awaited = _Awaited(coroutine)
        self.loop.call_soon_threadsafe(awaited.start)
        try:
            awaited.wait()
        except BaseException:
            self.loop.call_soon_threadsafe(awaited.cancel)
            raise
        return awaited.result()

    async def arun(self, coroutine: Coroutine[Any, Any, R]) -> R:
        """Await a coroutine that runs on the background loop."""
        if asyncio.get_running_loop() is self.loop:
            return await coroutine
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, self.loop))

    def close(self) -> None:
        """End what stands, close connections, end the thread."""
        if self._thread.is_alive():
            self.loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(CLOSE_TIMEOUT)

    def _main(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        async with asyncio.TaskGroup() as self.group:
            keeper = self.group.create_task(self._stop.wait())
            self._ready.set()
            await keeper
            for closer in reversed(self.closers):
                await closer()


def in_loop() -> bool:
    """The caller runs inside an event loop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


_lock = threading.Lock()
_bridge: Bridge | None = None
# A parent's bridges in a forked child. They are kept: to destroy a channel of
# gRPC whose threads are gone ends the process with a segmentation fault.
_abandoned: list[Bridge] = []


def bridge() -> Bridge:
    """This process's bridge, made at first use."""
    global _bridge
    if _bridge is None:
        with _lock:
            if _bridge is None:
                _bridge = Bridge()
    return _bridge


def _forget() -> None:
    """In a forked child: the thread, the loop and its connections are the parent's."""
    global _bridge, _lock
    if _bridge is not None:
        _abandoned.append(_bridge)
    _bridge = None
    _lock = threading.Lock()


@atexit.register
def _close() -> None:
    if _bridge is not None:
        _bridge.close()


os.register_at_fork(after_in_child=_forget)


class Verb(Generic[P, R]):
    """An async body with a blocking form, ``verb(…)``, and an async one, ``verb.aio(…)``."""

    def __init__(self, body: Callable[P, Coroutine[Any, Any, R]]) -> None:
        self._body = body
        self.__doc__ = body.__doc__

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return bridge().run(self._body(*args, **kwargs))

    async def aio(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """The same, to be awaited."""
        return await bridge().arun(self._body(*args, **kwargs))

    def __repr__(self) -> str:
        return f"<callmesh verb `{getattr(self._body, '__name__', '?')}`: blocking, or `.aio`>"


class Immediate(Generic[P, R]):
    """A verb that never waits, with the two forms of a verb: no thread is started for it."""

    def __init__(self, body: Callable[P, R]) -> None:
        self._body = body
        functools.update_wrapper(cast("Callable[..., Any]", self), body)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self._body(*args, **kwargs)

    async def aio(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """The same, to be awaited."""
        return self._body(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<callmesh verb `{getattr(self._body, '__name__', '?')}`>"


class Flow(Generic[P, T]):
    """An async generator with a blocking form (an iterator) and an async one, ``.aio(…)``."""

    def __init__(self, body: Callable[P, AsyncGenerator[T, None]]) -> None:
        self._body = body
        functools.update_wrapper(cast("Callable[..., Any]", self), body)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        return iterate(self._body(*args, **kwargs))

    def aio(self, *args: P.args, **kwargs: P.kwargs) -> AsyncIterator[T]:
        """The same, for ``async for``."""
        return aiterate(self._body(*args, **kwargs))


class _Steps(Generic[T]):
    """An async generator on the background loop, one step at a time.

    A step whose waiter was interrupted (Ctrl-C) unwinds before the generator is
    closed.
    """

    def __init__(self, generator: AsyncGenerator[T, None]) -> None:
        self._generator = generator
        self._lock = asyncio.Lock()

    async def next(self) -> T:
        async with self._lock:
            return await self._generator.__anext__()

    async def close(self) -> None:
        async with self._lock:
            await self._generator.aclose()


def iterate(generator: AsyncGenerator[T, None]) -> Iterator[T]:
    """Step an async generator, which lives on the background loop, from blocking code."""
    owner, steps = bridge(), _Steps(generator)
    try:
        while True:
            try:
                yield owner.run(steps.next())
            except StopAsyncIteration:
                return
    finally:
        owner.run(steps.close())


async def aiterate(generator: AsyncGenerator[T, None]) -> AsyncIterator[T]:
    """Step an async generator, which lives on the background loop, from any loop."""
    owner, steps = bridge(), _Steps(generator)
    try:
        while True:
            try:
                item = await owner.arun(steps.next())
            except StopAsyncIteration:
                return
            yield item
    finally:
        await owner.arun(steps.close())


def verb(body: Callable[P, Coroutine[Any, Any, R]]) -> Verb[P, R]:
    """Decorate an async function."""
    made = Verb(body)
    functools.update_wrapper(cast("Callable[..., Any]", made), body)
    return made


def immediate(body: Callable[P, R]) -> Immediate[P, R]:
    """Decorate a function that never waits."""
    return Immediate(body)


def flow(body: Callable[P, AsyncGenerator[T, None]]) -> Flow[P, T]:
    """Decorate an async generator function."""
    return Flow(body)


class method(Generic[S, P, R]):  # noqa: N801 - a decorator, like property
    """Decorate an async method: ``object.name(…)`` blocks, ``object.name.aio(…)`` is awaited."""

    def __init__(self, body: Callable[Concatenate[S, P], Coroutine[Any, Any, R]]) -> None:
        self._body = body
        self.__doc__ = body.__doc__

    @overload
    def __get__(self, instance: None, owner: type[S]) -> method[S, P, R]: ...
    @overload
    def __get__(self, instance: S, owner: type[S]) -> Verb[P, R]: ...
    def __get__(self, instance: S | None, owner: type[S]) -> Verb[P, R] | method[S, P, R]:
        return self if instance is None else Verb(self._body.__get__(instance, owner))


class class_method(Generic[S, P, R]):  # noqa: N801 - a decorator, like classmethod
    """Decorate an async class method, above ``@classmethod``."""

    def __init__(self, body: Callable[Concatenate[type[S], P], Coroutine[Any, Any, R]]) -> None:
        self._body = body
        self.__doc__ = body.__doc__

    def __get__(self, instance: S | None, owner: type[S]) -> Verb[P, R]:
        return Verb(self._body.__get__(None, owner))


class class_flow(Generic[S, P, T]):  # noqa: N801 - a decorator, like classmethod
    """Decorate an async generator class method, above ``@classmethod``."""

    def __init__(self, body: Callable[Concatenate[type[S], P], AsyncGenerator[T, None]]) -> None:
        self._body = body
        self.__doc__ = body.__doc__

    def __get__(self, instance: S | None, owner: type[S]) -> Flow[P, T]:
        return Flow(self._body.__get__(None, owner))
