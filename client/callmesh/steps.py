"""`trace`: calls of a function as steps of a run, which a retry does not execute again.

A step is recorded when it has ended, durably, as a child of its run. A later
attempt that makes the same call (function, arguments, and how many equal calls
came before) gets the recorded result. A step that raised is executed again.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar, cast

from google.protobuf.timestamp_pb2 import Timestamp

from callmesh import _blobs, _runtime, values
from callmesh._failure import failure_of
from callmesh._plain import Mismatch
from callmesh._runtime import AttemptContext
from callmesh._signature import signature_of
from callmesh._sync import bridge
from callmesh._transport import call, new_request_id
from callmesh.errors import RunNotFoundError, RuntimeDataValidationError
from callmesh_wire.errors import AlreadyExistsError
from callmeshpb.v1 import common_pb2, scheduler_pb2

P = ParamSpec("P")
R = TypeVar("R")

# Equal calls so far, by attempt.
_counts: dict[tuple[str, int], Counter[str]] = {}


def trace(function: Callable[P, R]) -> Callable[P, R]:
    """Make a function's calls steps of the run that makes them; outside a run it changes nothing.

    It may be sync or async; of a generator nothing is recorded. A step may not
    call tasks: `errors.TraceDoesNotAllowNestedTasksError`. Calls whose
    arguments or result cannot be sent are executed in every attempt.
    """
    made: Any
    if inspect.isasyncgenfunction(function):
        made = _async_generator(function)
    elif inspect.isgeneratorfunction(function):
        made = _generator(function)
    elif inspect.iscoroutinefunction(function):
        made = _async(function)
    else:
        made = _sync(function)
    return cast("Callable[P, R]", functools.wraps(function)(made))


def _sync(function: Callable[..., Any]) -> Callable[..., Any]:
    def step(*args: Any, **kwargs: Any) -> Any:
        this = _step_of(function, args, kwargs)
        if this is None:
            return _within(function, lambda: function(*args, **kwargs))
        kept = bridge().run(this.recorded())
        if kept is not None:
            return this.result_of(kept)
        started = time.time_ns()
        try:
            result = _within(function, lambda: function(*args, **kwargs))
        except Exception as problem:
            bridge().run(this.record_failure(problem, started))
            raise
        bridge().run(this.record(result, started))
        return result

    return step


def _async(function: Callable[..., Any]) -> Callable[..., Any]:
    async def step(*args: Any, **kwargs: Any) -> Any:
        this = _step_of(function, args, kwargs)
        if this is None:
            return await _awaited(function, args, kwargs)
        kept = await bridge().arun(this.recorded())
        if kept is not None:
            return this.result_of(kept)
        started = time.time_ns()
        try:
            result = await _awaited(function, args, kwargs)
        except Exception as problem:
            await bridge().arun(this.record_failure(problem, started))
            raise
        await bridge().arun(this.record(result, started))
        return result

    return step


def _generator(function: Callable[..., Any]) -> Callable[..., Any]:
    def step(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        items = function(*args, **kwargs)
        while True:
            try:
                item = _within(function, lambda: next(items))
            except StopIteration as end:
                return end.value
            yield item

    return step


def _async_generator(function: Callable[..., Any]) -> Callable[..., Any]:
    async def step(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, None]:
        items = function(*args, **kwargs)
        while True:
            token = _runtime.current_step.set(function.__name__)
            try:
                item = await anext(items)
            except StopAsyncIteration:
                return
            finally:
                _runtime.current_step.reset(token)
            yield item

    return step


def _within(function: Callable[..., Any], body: Callable[[], Any]) -> Any:
    token = _runtime.current_step.set(function.__name__)
    try:
        return body()
    finally:
        _runtime.current_step.reset(token)


async def _awaited(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Any:
    token = _runtime.current_step.set(function.__name__)
    try:
        return await function(*args, **kwargs)
    finally:
        _runtime.current_step.reset(token)


@dataclass(frozen=True, slots=True)
class _Step:
    """One call in one attempt, and the name of its record."""

    function: Callable[..., Any]
    attempt: AttemptContext
    name: str
    inputs: Mapping[str, common_pb2.Value]

    async def recorded(self) -> scheduler_pb2.Run | None:
        """What an earlier attempt recorded, with its values."""
        if self.attempt.number == 1:
            return None
        from callmesh.remote.details import fetch

        try:
            found = await fetch(self.name)
        except RunNotFoundError:
            return None
        whole = await _blobs.fetched(found.outputs)
        del found.outputs[:]
        found.outputs.extend(whole)
        return found

    def result_of(self, kept: scheduler_pb2.Run) -> Any:
        """The result that was recorded."""
        return values.decode_outputs(
            kept.outputs,
            is_tuple=kept.outputs_is_tuple,
            declared=signature_of(self.function).result,
            trusted=True,
        )

    async def record(self, result: Any, started: int) -> None:
        """Keep the result for later attempts, where it can be sent."""
        try:
            outputs, is_tuple = values.encode_outputs(self.function, result)
        except RuntimeDataValidationError:
            return
        named = {str(index): value for index, value in enumerate(outputs)}
        done = await _blobs.offload(named)
        step = scheduler_pb2.RecordedStep(
            outputs=[done[str(index)] for index in range(len(outputs))], outputs_is_tuple=is_tuple
        )
        await self._send(step, self.name, started)

    async def record_failure(self, problem: Exception, started: int) -> None:
        """Show that it raised; a later attempt executes it again."""
        step = scheduler_pb2.RecordedStep(error=failure_of(problem))
        await self._send(step, f"{self.name}-{self.attempt.number}", started)

    async def _send(self, step: scheduler_pb2.RecordedStep, name: str, started: int) -> None:
        step.function = self.function.__name__
        moment = Timestamp()
        moment.FromNanoseconds(started)
        step.started_at.CopyFrom(moment)
        attempt = self.attempt
        submission = scheduler_pb2.Submission(
            request_id=new_request_id(),
            task=scheduler_pb2.TaskRef(
                scope=common_pb2.Scope(project=attempt.project, domain=attempt.domain),
                name=attempt.task,
                version=attempt.version,
            ),
            inputs=await _blobs.offload(self.inputs),
            run_name=name,
            parent=attempt.run,
            traceparent=attempt.traceparent,
            step=step,
        )
        request = scheduler_pb2.RunTaskRequest(submission=submission)
        try:
            await call(scheduler_pb2.RunTaskResponse, "SchedulerService/RunTask", request)
        except AlreadyExistsError:
            return  # an attempt that was given up has got as far


def _step_of(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> _Step | None:
    """The call as a step; None outside the mesh's runs, and within another step."""
    attempt = _runtime.current()
    if attempt is None or attempt.mode != "remote" or _runtime.current_step.get():
        return None
    try:
        bound = inspect.signature(function).bind(*args, **kwargs).arguments
        inputs = {name: values.encode_untyped(value) for name, value in bound.items()}
    except (TypeError, Mismatch):
        return None
    found = hashlib.sha256(f"{function.__module__}.{function.__qualname__}".encode())
    for name, value in inputs.items():
        found.update(name.encode() + value.SerializeToString(deterministic=True))
    key = found.hexdigest()[:16]
    counted = _counts.get((attempt.run, attempt.number))
    if counted is None:
        _counts.clear()
        counted = _counts[attempt.run, attempt.number] = Counter()
    counted[key] += 1
    return _Step(function, attempt, f"{attempt.run}-{key}-{counted[key]}", inputs)
