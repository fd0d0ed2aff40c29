"""One attempt of a task inside its worker: prepared, executed, reported."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import inspect
import os
import sys
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from callmesh import _code, _runtime, values
from callmesh._failure import failure_of
from callmesh._process import Terminated
from callmesh.errors import RuntimeDataValidationError
from callmeshpb.v1 import common_pb2, node_pb2, scheduler_pb2


@dataclass(frozen=True, slots=True)
class Attempt:
    """An order that may start: its function and inputs, or why it cannot."""

    order: node_pb2.AttemptOrder
    function: Callable[..., object] | None = None
    inputs: Mapping[str, object] = field(default_factory=dict)
    problem: common_pb2.Failure | None = None

    def report(self, phase: scheduler_pb2.AttemptPhase, worker: str) -> node_pb2.AttemptReport:
        """A report of this attempt that starts now."""
        return node_pb2.AttemptReport(
            run=self.order.run,
            number=self.order.number,
            fence=self.order.fence,
            phase=phase,
            worker=worker,
            started_at=_now(),
            log_start=_log_size(),
        )


class AttemptRunner:
    """Prepares and executes attempts, one at a time, in the main thread."""

    def __init__(self, code: common_pb2.Code, directory: str) -> None:
        self._code = code
        self._directory = directory
        self._functions: dict[str, Callable[..., object]] = {}
        self._runner = asyncio.Runner()
        self._task: asyncio.Task[object] | None = None

    def warm_up(self) -> None:
        """Make what the first attempt would otherwise wait for."""
        self._runner.get_loop()

    def prepare(self, order: node_pb2.AttemptOrder) -> Attempt:
        """Find the function and decode the inputs. A mistake becomes the attempt's failure."""
        try:
            function = self._function(order.task)
            return Attempt(order, function, values.decode_inputs(function, order.inputs))
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the user's module may raise anything
            return Attempt(order, problem=failure_of(error))

    def execute(self, attempt: Attempt, running: node_pb2.AttemptReport) -> node_pb2.AttemptReport:
        """Run the user's code to its end. The report of that end.

        ``running`` is the report that was sent at its start.
        """
        ended = node_pb2.AttemptReport()
        ended.CopyFrom(running)
        ended.phase = scheduler_pb2.ATTEMPT_PHASE_FAILED
        if attempt.function is None:
            ended.error.CopyFrom(attempt.problem or common_pb2.Failure())
        else:
            self._call(attempt, attempt.function, ended)
        ended.ended_at.CopyFrom(_now())
        ended.log_end = _log_size()
        return ended

    def cancel(self) -> bool:
        """Cancel the async function that runs; False if none does.

        For a signal handler in the main thread.
        """
        task = self._task
        if task is None:
            return False
        self._runner.get_loop().call_soon_threadsafe(task.cancel)
        return True

    def close(self) -> None:
        """End the event loop and what is left on it."""
        self._runner.close()

    def _call(
        self, attempt: Attempt, function: Callable[..., object], ended: node_pb2.AttemptReport
    ) -> None:
        context = contextvars.copy_context()
        variables = {**attempt.order.env_vars, **attempt.order.secret_env}
        with _runtime.added_variables(variables):
            try:
                context.run(_runtime.enter_attempt, attempt.order)
                result = context.run(function, **attempt.inputs)
                if inspect.iscoroutine(result):
                    # `Runner.run` would install a handler for SIGINT each time: 20 µs.
                    loop = self._runner.get_loop()
                    self._task = loop.create_task(_awaited(result), context=context)
                    result = loop.run_until_complete(self._task)
            except Terminated:
                raise
            except (Exception, asyncio.CancelledError, KeyboardInterrupt, SystemExit) as error:  # noqa: BLE001 - user code
                ended.error.CopyFrom(failure_of(error))
                return
            finally:
                self._task = None
        try:
            outputs, is_tuple = values.encode_outputs(function, result)
            if sum(value.ByteSize() for value in outputs) > values.INLINE_LIMIT:
                from callmesh import _blobs

                outputs = _blobs.offload_here(outputs)
        except Exception as error:  # noqa: BLE001 - pickling runs the user's code
            ended.error.CopyFrom(_unsendable(result, error))
            return
        ended.outputs.extend(outputs)
        ended.outputs_is_tuple = is_tuple
        ended.phase = scheduler_pb2.ATTEMPT_PHASE_SUCCEEDED

    def _function(self, task: scheduler_pb2.Task) -> Callable[..., object]:
        name = task.spec.name
        found = self._functions.get(name)
        if found is None:
            module = _code.load(self._code, self._directory)
            environment = _code.environment_of(module, self._code.attribute)
            template = getattr(environment, "tasks", {}).get(name)
            if template is None:
                template = getattr(module, task.spec.function, None)
            function = getattr(template, "func", template)
            if not callable(function):
                raise _code.CodeProblem(
                    f"module `{module.__name__}` has no task `{name}`: deploy it again"
                )
            found = self._functions[name] = function
        return found


async def _awaited(coroutine: Coroutine[Any, Any, object]) -> object:
    try:
        return await coroutine
    finally:
        await _cancel_others()


async def _cancel_others() -> None:
    """End what the user's function left running, as `asyncio.run` does."""
    me = asyncio.current_task()
    others = [task for task in asyncio.all_tasks() if task is not me]
    if not others:
        return
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


def _unsendable(result: object, error: Exception) -> common_pb2.Failure:
    failure = failure_of(error)
    failure.exception_pickle = b""
    if isinstance(error, RuntimeDataValidationError):
        failure.traceback = ""
    else:
        failure.type = "ResultNotSerializable"
        failure.message = (
            f"the function returned a `{type(result).__name__}` that cannot be sent: "
            f"{failure.message}"
        )
    return failure


def _log_size() -> int:
    """Where this worker's log file ends now, everything written so far included."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
    try:
        return os.fstat(1).st_size
    except OSError:
        return 0


def _now() -> Timestamp:
    moment = Timestamp()
    moment.FromNanoseconds(time.time_ns())
    return moment
