"""Local mode: runs in this process, when there is no mesh.

Arguments and results are checked as on the mesh; retries and their delays are
kept, timeouts are not. A sync task is called where its caller is, an async one
is awaited there, so that a debugger finds it. A task that fails raises, with
the original exception as the ``__cause__``.
"""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import threading
import time
import uuid
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from callmesh import _runtime, values
from callmesh._runtime import AttemptContext
from callmesh._signature import signature_of
from callmesh.errors import NonRecoverableError, TaskFailedError
from callmesh.policy import DEFAULT_BACKOFF
from callmesh.remote.details import Updates
from callmesh.remote.outputs import ActionOutputs
from callmesh.remote.phase import ActionPhase
from callmesh.task import Task
from callmesh_wire import names

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Execute:
    """Call the function now."""

    context: AttemptContext
    inputs: Mapping[str, Any]


# Yields what to execute or seconds to wait; is sent or thrown what came of it.
Life = Generator[Execute | float, Any, None]


class Ready(Generic[T]):
    """What is known already, in the form of a verb: ``f()`` and ``await f.aio()``."""

    def __init__(self, value: Callable[[], T]) -> None:
        self._value = value

    def __call__(self, *_args: object, **_options: object) -> T:
        return self._value()

    async def aio(self, *_args: object, **_options: object) -> T:
        """The same, awaited."""
        return self._value()


class LocalRun:
    """A run in this process, with the surface of `remote.Run`."""

    def __init__(self, task_name: str, name: str) -> None:
        self.name = self.id = name
        self.task_name = task_name
        self.project, self.domain = names.DEFAULT_PROJECT, names.DEFAULT_DOMAIN
        self.url = f"local:{name}"
        self.phase = ActionPhase.QUEUED
        self.message = ""
        self.attempts = 0
        self._outputs = ActionOutputs(())
        self._result: Any = None
        self.wait: Ready[None] = Ready(lambda: None)
        self.sync: Ready[LocalRun] = Ready(lambda: self)
        self.abort: Ready[None] = Ready(lambda: None)
        self.outputs: Ready[ActionOutputs] = Ready(lambda: self._outputs)
        self.result: Ready[Any] = Ready(lambda: self._result)

    @property
    def status(self) -> ActionPhase:
        """The same as `phase`."""
        return self.phase

    def done(self) -> bool:
        """It has ended."""
        return self.phase.is_terminal

    def raise_for_status(self) -> None:
        """Raises nothing: a local run that fails raises where it is started."""

    def watch(self, **_options: object) -> Updates:
        """Its states; only the last is left to be seen."""

        async def states() -> AsyncGenerator[Any, None]:
            yield self

        return Updates(states)

    def stream(self) -> Updates:
        """The same."""
        return self.watch()

    def end(self, result: Any, *, is_tuple: bool) -> None:
        """Take in what the function returned."""
        self.phase = ActionPhase.SUCCEEDED
        self._result = result
        fields = getattr(result, "_fields", ())
        self._outputs = ActionOutputs(result, fields) if is_tuple else ActionOutputs((result,))

    def __repr__(self) -> str:
        return f"<local run `{self.name}` of `{self.task_name}`: {self.phase}>"


def run(
    task: Task[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], name: str = ""
) -> LocalRun:
    """Run a task, from blocking code. Raises `errors.TaskFailedError`."""
    made = LocalRun(task.name, names.check_run(name) if name else _new_name())
    life = _life(task, args, kwargs, made)
    if task.is_async:
        in_own_loop(_await_life(task, life))
    else:
        _call_life(task, life)
    return made


async def arun(
    task: Task[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], name: str = ""
) -> LocalRun:
    """Run a task, from async code: a sync one in a thread."""
    made = LocalRun(task.name, names.check_run(name) if name else _new_name())
    life = _life(task, args, kwargs, made)
    if task.is_async:
        await _await_life(task, life)
    else:
        await asyncio.to_thread(_call_life, task, life)
    return made


def call(task: Task[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """A sync task that a local run calls: a child run."""
    return run(task, args, kwargs).result()


async def acall(task: Task[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """A task that a local run awaits: a child run."""
    return (await arun(task, args, kwargs)).result()


def in_own_loop(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end from blocking code, also inside a running loop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    outcome: list[T] = []
    problems: list[BaseException] = []

    def main() -> None:
        try:
            outcome.append(asyncio.run(coroutine))
        except BaseException as problem:  # noqa: BLE001 - raised again in the caller's thread
            problems.append(problem)

    context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(main,), name="callmesh-local")
    thread.start()
    thread.join()
    if problems:
        raise problems[0]
    return outcome[0]


def _life(
    task: Task[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], made: LocalRun
) -> Life:
    """A run from its arguments to its result."""
    inputs = values.decode_inputs(task.func, values.encode_inputs(task.func, args, kwargs))
    parent = _runtime.current()
    backoff = task.retries.backoff or DEFAULT_BACKOFF
    for number in itertools.count(1):
        made.phase, made.attempts = ActionPhase.RUNNING, number
        attempt = AttemptContext(
            run=made.name,
            number=number,
            task=task.name,
            idempotency_key=made.name,
            parent=parent.run if parent else "",
            group=_runtime.current_group.get(),
            custom_context=_runtime.custom_context(),
            mode="local",
        )
        try:
            result = yield Execute(attempt, inputs)
        except Exception as problem:
            if isinstance(problem, NonRecoverableError) or number > task.retries.count:
                made.phase, made.message = ActionPhase.FAILED, str(problem)
                failed = TaskFailedError(type(problem).__name__, str(problem), run=made.name)
                raise failed from problem
        else:
            outputs, is_tuple = values.encode_outputs(task.func, result)
            decoded = values.decode_outputs(
                outputs,
                is_tuple=is_tuple,
                declared=signature_of(task.func).result,
                trusted=True,
            )
            made.end(decoded, is_tuple=is_tuple)
            return
        yield backoff.delay(number - 1)


def _call_life(task: Task[..., Any], life: Life) -> None:
    step = next(life)
    try:
        while True:
            if isinstance(step, float):
                time.sleep(step)
                step = life.send(None)
                continue
            with _runtime.entered(step.context):
                try:
                    result = task.func(**step.inputs)
                except Exception as problem:  # noqa: BLE001 - the life decides what it means
                    step = life.throw(problem)
                    continue
            step = life.send(result)
    except StopIteration:
        return


async def _await_life(task: Task[..., Any], life: Life) -> None:
    step = next(life)
    try:
        while True:
            if isinstance(step, float):
                await asyncio.sleep(step)
                step = life.send(None)
                continue
            with _runtime.entered(step.context):
                try:
                    result = await task.func(**step.inputs)
                except Exception as problem:  # noqa: BLE001 - the life decides what it means
                    step = life.throw(problem)
                    continue
            step = life.send(result)
    except StopIteration:
        return


def _new_name() -> str:
    return f"local-{uuid.uuid4().hex[:12]}"
