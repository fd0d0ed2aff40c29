"""Virtual time, and the event loop on which the product's own coroutines run in it.

What is due happens in its order, and nothing else takes any time. Code runs as
one of the simulated `Process`es (or as none: the world around them), each with
a wall clock of its own. A process that is stopped does nothing until it goes
on; one that was killed never does anything again, not even tidy up.
"""

from __future__ import annotations

import asyncio
import contextvars
import heapq
import itertools
import random
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

# Callbacks of one moment: more is a loop that never ends.
_MOMENT = 200_000

_process: contextvars.ContextVar[Process | None] = contextvars.ContextVar("process", default=None)


class Process:
    """A process of the product: a server or an agent."""

    def __init__(self, clock: Clock, name: str, skew: float = 0.0) -> None:
        """``skew``: seconds that its wall clock is ahead."""
        self.name = name
        self.skew = skew
        self.stopped = False
        self.killed = False
        self.waiting: deque[Timer] = deque()
        self.tasks: list[asyncio.Task[Any]] = []
        self._clock = clock
        self._prune_at = 64
        self.context = contextvars.copy_context()
        self.context.run(_process.set, self)

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run a coroutine in this process."""
        return self._clock.create_task(work, context=self.context.copy())

    def go_on(self) -> None:
        """It was stopped: what should have happened meanwhile happens now.

        Its timers first: what others sent is read after them.
        """
        if self.stopped:
            self.stopped = False
            for timer in sorted(self.waiting, key=lambda each: each.is_message):
                self._clock.again(timer)
            self.waiting.clear()

    def own(self, task: asyncio.Task[Any]) -> None:
        """Keep a task: what a killed process held must not be tidied up by accident."""
        self.tasks.append(task)
        if len(self.tasks) > self._prune_at:
            self.tasks = [each for each in self.tasks if not each.done()]
            self._prune_at = 2 * len(self.tasks) + 64


class Timer:
    """Something that will happen, unless it is cancelled."""

    __slots__ = ("_action", "_arguments", "_at", "_cancelled", "_context", "is_message", "process")

    def __init__(
        self,
        at: float,
        action: Callable[..., object],
        arguments: tuple[Any, ...],
        context: contextvars.Context | None,
        *,
        is_message: bool = False,
    ) -> None:
        """``is_message``: it follows from something that came, not from time that passed."""
        self.is_message = is_message
        self._at = at
        self._action = action
        self._arguments = arguments
        self._context = context
        self._cancelled = False
        self.process = context.get(_process) if context is not None else None

    def cancel(self) -> None:
        self._cancelled = True

    def cancelled(self) -> bool:
        return self._cancelled

    def when(self) -> float:
        return self._at

    def run(self) -> None:
        """Do it, as the process whose it is."""
        process = self.process
        if self._cancelled:
            return
        if process is not None and (process.stopped or process.killed):
            process.waiting.append(self)
        elif self._context is None:
            self._action(*self._arguments)
        else:
            self._context.run(self._action, *self._arguments)


class Clock(asyncio.AbstractEventLoop):
    """The only clock of a simulation. ``now`` is in epoch seconds, and nobody's skew in it."""

    def __init__(self, start: float = 1_000_000.0) -> None:
        self.start = start
        self.now = start
        # A sentence that ends the simulation.
        self.broken = ""
        self.problems: list[BaseException | None] = []
        self._ready: deque[Timer] = deque()
        self._due: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()
        self._tasks: list[asyncio.Task[Any]] = []
        self._processes: list[Process] = []
        self._closed = False

    @property
    def elapsed(self) -> float:
        """Seconds since the simulation began."""
        return self.now - self.start

    # The world's own

    def after(
        self, seconds: float, action: Callable[[], object], process: Process | None = None
    ) -> Timer:
        """Do something in so many seconds, as a process of ours or as the world."""
        return self.at(self.now + max(0.0, seconds), action, process)

    def at(
        self, moment: float, action: Callable[[], object], process: Process | None = None
    ) -> Timer:
        """Do something at a time; in the past means now."""
        context = process.context if process is not None else None
        timer = Timer(max(self.now, moment), action, (), context)
        heapq.heappush(self._due, (timer.when(), next(self._order), timer))
        return timer

    def again(self, timer: Timer) -> None:
        """What a stopped process could not do is due now."""
        self._ready.append(timer)

    def process(self, name: str, skew: float = 0.0) -> Process:
        """A process that begins."""
        begun = Process(self, name, skew)
        self._processes.append(begun)
        return begun

    def run_until(self, elapsed: float) -> None:
        """Let time pass until ``elapsed`` seconds since the beginning, or until it is broken."""
        until = self.start + elapsed
        ready, due = self._ready, self._due
        asyncio._set_running_loop(self)
        try:
            count = 0
            while not self.broken:
                if ready:
                    ready.popleft().run()
                    count += 1
                    if count > _MOMENT:
                        self.broken = "something goes on and on, and no time passes"
                elif due and due[0][0] <= until:
                    at, _, timer = heapq.heappop(due)
                    if at > self.now:
                        self.now = at
                        count = 0
                    timer.run()
                else:
                    self.now = until
                    break
        finally:
            asyncio._set_running_loop(None)

    def end(self) -> None:
        """End every task, those of killed processes too, so that nothing is left behind."""
        self._due.clear()
        tasks = [*self._tasks, *(each for p in self._processes for each in p.tasks)]
        for process in self._processes:
            process.killed = process.stopped = False
            # Steps of its tasks; without them they cannot end.
            self._ready.extend(each for each in process.waiting if each.is_message)
        asyncio._set_running_loop(self)
        try:
            # A task may have to be told more than once: it waits again as it tidies up.
            for _ in range(20):
                left = [each for each in tasks if not each.done()]
                if not left:
                    break
                for task in left:
                    task.cancel()
                for _ in range(_MOMENT):
                    if not self._ready:
                        break
                    self._ready.popleft().run()
        finally:
            asyncio._set_running_loop(None)
            self._closed = True

    # asyncio's

    def time(self) -> float:
        return self.now - self.start

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return self._closed

    def call_soon(  # type: ignore[override]
        self,
        callback: Callable[..., object],
        *arguments: Any,
        context: contextvars.Context | None = None,
    ) -> Timer:
        context = context or contextvars.copy_context()
        timer = Timer(self.now, callback, arguments, context, is_message=True)
        self._ready.append(timer)
        return timer

    def call_later(  # type: ignore[override]
        self,
        delay: float,
        callback: Callable[..., object],
        *arguments: Any,
        context: contextvars.Context | None = None,
    ) -> Timer:
        return self.call_at(self.time() + delay, callback, *arguments, context=context)

    def call_at(  # type: ignore[override]
        self,
        when: float,
        callback: Callable[..., object],
        *arguments: Any,
        context: contextvars.Context | None = None,
    ) -> Timer:
        at = max(self.now, self.start + when)
        timer = Timer(at, callback, arguments, context or contextvars.copy_context())
        heapq.heappush(self._due, (at, next(self._order), timer))
        return timer

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(  # type: ignore[override]
        self,
        coro: Coroutine[Any, Any, Any],
        *,
        name: str | None = None,
        context: contextvars.Context | None = None,
    ) -> asyncio.Task[Any]:
        context = context or contextvars.copy_context()
        task: asyncio.Task[Any] = asyncio.Task(coro, loop=self, name=name, context=context)
        owner = context.get(_process)
        if owner is not None:
            owner.own(task)
        else:
            self._tasks.append(task)
        return task

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.problems.append(context.get("exception"))


@contextmanager
def virtual_time(clock: Clock, seed: int) -> Iterator[None]:
    """`time` and `random` are the simulation's, as each process sees them."""

    def wall() -> float:
        process = _process.get()
        return clock.now + process.skew if process is not None else clock.now

    real, chances = (time.time, time.monotonic), random.getstate()
    time.time, time.monotonic = wall, clock.time  # type: ignore[assignment]
    random.seed(seed)
    try:
        yield
    finally:
        time.time, time.monotonic = real  # type: ignore[assignment]
        random.setstate(chances)


__all__ = ["Clock", "Process", "Timer", "virtual_time"]
