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
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from callmesh import _local_cache, _runtime, values
from callmesh._failure import failure_of, message_of
from callmesh._runtime import AttemptContext
from callmesh._signature import signature_of
from callmesh._sync import in_loop
from callmesh.errors import NonRecoverableError, TaskFailedError
from callmesh.policy import DEFAULT_BACKOFF
from callmesh.remote.details import ActionDetails, RunDetails, Updates
from callmesh.remote.outputs import ActionOutputs
from callmesh.remote.phase import ActionPhase
from callmesh.task import Task
from callmesh_wire import names
from callmeshpb.v1 import common_pb2, scheduler_pb2

T = TypeVar("T")

_ATTEMPT_PHASES = {
    ActionPhase.RUNNING: scheduler_pb2.ATTEMPT_PHASE_RUNNING,
    ActionPhase.SUCCEEDED: scheduler_pb2.ATTEMPT_PHASE_SUCCEEDED,
    ActionPhase.FAILED: scheduler_pb2.ATTEMPT_PHASE_FAILED,
}


@dataclass(frozen=True, slots=True)
class Execute:
    """Call the function now."""

    context: AttemptContext
    inputs: Mapping[str, Any]
    variables: Mapping[str, str]


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

    def __init__(self, task: Task[..., Any], name: str = "") -> None:
        self.name = self.id = names.check_run(name) if name else _new_name()
        self.task_name = task.name
        self.project, self.domain = names.DEFAULT_PROJECT, names.DEFAULT_DOMAIN
        self.url = f"local:{self.name}"
        self.phase = ActionPhase.QUEUED
        self.message = ""
        # The run whose result this is, where it did not execute itself.
        self.cached_from = ""
        self.attempts = 0
        self._function = task.func
        self._times = {"created_at": time.time()}
        self._inputs: Mapping[str, common_pb2.Value] = {}
        self._values: Sequence[common_pb2.Value] = ()
        self._is_tuple = False
        self._error: BaseException | None = None
        self._outputs = ActionOutputs(())
        self._result: Any = None
        self.wait: Ready[None] = Ready(lambda: None)
        self.sync: Ready[LocalRun] = Ready(lambda: self)
        self.abort: Ready[None] = Ready(lambda: None)
        self.outputs: Ready[ActionOutputs] = Ready(lambda: self._outputs)
        self.result: Ready[Any] = Ready(lambda: self._result)
        self.inputs: Ready[dict[str, Any]] = Ready(
            lambda: values.decode_inputs(self._function, self._inputs)
        )
        self.details: Ready[RunDetails] = Ready(lambda: RunDetails(self.pb2, self._function))

    @property
    def status(self) -> ActionPhase:
        """The same as `phase`."""
        return self.phase

    @property
    def pb2(self) -> scheduler_pb2.Run:
        """The run as the mesh would record it; it has only the last attempt."""
        record = scheduler_pb2.Run(
            name=self.name,
            project=self.project,
            domain=self.domain,
            task=self.task_name,
            phase=self.phase.wire,
            message=self.message,
            inputs=self._inputs,
            outputs=self._values,
            outputs_is_tuple=self._is_tuple,
            idempotency_key=self.name,
            url=self.url,
            cached_from=self.cached_from,
        )
        if self._error is not None:
            record.error.CopyFrom(failure_of(self._error))
        if self.attempts:
            attempt = record.attempts.add(number=self.attempts)
            attempt.phase = _ATTEMPT_PHASES[self.phase]
        for name, moment in self._times.items():
            getattr(record, name).FromNanoseconds(int(moment * 1e9))
        return record

    @property
    def raw_phase(self) -> scheduler_pb2.RunPhase:
        """The phase as the mesh writes it."""
        return self.phase.wire

    @property
    def action(self) -> ActionDetails:
        """Its last state."""
        return ActionDetails(self.pb2, self._function)

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

    def begin(self, inputs: Mapping[str, common_pb2.Value]) -> None:
        """Take in the arguments."""
        self._inputs = inputs

    def attempt(self, number: int) -> None:
        """The function is called."""
        self.phase, self.attempts = ActionPhase.RUNNING, number
        self._times.setdefault("started_at", time.time())

    def end(self, result: Any, record: scheduler_pb2.Run) -> None:
        """Take in what the function returned."""
        self.phase = ActionPhase.SUCCEEDED
        self._times["ended_at"] = time.time()
        is_tuple = record.outputs_is_tuple
        self._result, self._values, self._is_tuple = result, record.outputs, is_tuple
        fields = getattr(result, "_fields", ())
        self._outputs = ActionOutputs(result, fields) if is_tuple else ActionOutputs((result,))

    def fail(self, error: BaseException) -> None:
        """Take in what the function raised."""
        self.phase, self.message, self._error = ActionPhase.FAILED, message_of(error), error
        self._times["ended_at"] = time.time()

    def __repr__(self) -> str:
        return f"<local run `{self.name}` of `{self.task_name}`: {self.phase}>"


def run(
    task: Task[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], name: str = ""
) -> LocalRun:
    """Run a task, from blocking code. Raises `errors.TaskFailedError`."""
    made = LocalRun(task, name)
    execute(made, task, args, kwargs)
    return made


def execute(
    made: LocalRun, task: Task[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> None:
    """Run a task in a run that has been made, from blocking code."""
    life = _life(task, args, kwargs, made)
    if task.is_async:
        in_own_loop(_await_life(task, life))
    else:
        _call_life(task, life)


async def arun(
    task: Task[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], name: str = ""
) -> LocalRun:
    """Run a task, from async code: a sync one in a thread."""
    made = LocalRun(task, name)
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
    if not in_loop():
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
    encoded = values.encode_inputs(task.func, args, kwargs)
    made.begin(encoded)
    slot = _local_cache.slot_of(task, encoded)
    kept = slot.load()
    if kept is not None:
        made.cached_from = kept.name
        made.end(_decoded(task, list(kept.outputs), is_tuple=kept.outputs_is_tuple), kept)
        return
    inputs = values.decode_inputs(task.func, encoded)
    parent = _runtime.current()
    backoff = task.retries.backoff or DEFAULT_BACKOFF
    variables = {**(task.environment.env_vars or {}), **task.options.env_vars}
    for number in itertools.count(1):
        made.attempt(number)
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
            result = yield Execute(attempt, inputs, variables)
        except Exception as problem:
            if isinstance(problem, NonRecoverableError) or number > task.retries.count:
                made.fail(problem)
                failed = TaskFailedError(type(problem).__name__, message_of(problem), run=made.name)
                raise failed from problem
        else:
            outputs, is_tuple = values.encode_outputs(task.func, result)
            ended = scheduler_pb2.Run(name=made.name, outputs=outputs, outputs_is_tuple=is_tuple)
            made.end(_decoded(task, outputs, is_tuple=is_tuple), ended)
            slot.keep(ended)
            return
        yield backoff.delay(number - 1)


def _decoded(task: Task[..., Any], outputs: list[common_pb2.Value], *, is_tuple: bool) -> Any:
    declared = signature_of(task.func).result
    return values.decode_outputs(outputs, is_tuple=is_tuple, declared=declared, trusted=True)


def _call_life(task: Task[..., Any], life: Life) -> None:
    try:
        step = next(life)
        while True:
            if isinstance(step, float):
                time.sleep(step)
                step = life.send(None)
                continue
            with _runtime.entered(step.context), _runtime.added_variables(step.variables):
                try:
                    result = task.func(**step.inputs)
                except Exception as problem:  # noqa: BLE001 - the life decides what it means
                    step = life.throw(problem)
                    continue
            step = life.send(result)
    except StopIteration:
        return


async def _await_life(task: Task[..., Any], life: Life) -> None:
    try:
        step = next(life)
        while True:
            if isinstance(step, float):
                await asyncio.sleep(step)
                step = life.send(None)
                continue
            with _runtime.entered(step.context), _runtime.added_variables(step.variables):
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
