"""What an ended run returned."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from callmesh import _blobs, _recorded, _runtime, values
from callmesh._plain import Mismatch
from callmesh._signature import signature_of
from callmesh._sync import bridge
from callmesh._transport import call
from callmesh.errors import RuntimeDataValidationError
from callmesh.remote import _failures
from callmesh_wire.errors import NotFoundError
from callmeshpb.v1 import common_pb2, scheduler_pb2

KNOWN_INTERFACES = 1000


class ActionOutputs(tuple[Any, ...]):
    """What a run returned, as a tuple: one value or several. Also ``.o0``, ``.o1``, …"""

    names: tuple[str, ...]

    def __new__(cls, outputs: Sequence[Any], names: Sequence[str] = ()) -> ActionOutputs:
        made = super().__new__(cls, outputs)
        made.names = tuple(names) or tuple(f"o{index}" for index in range(len(outputs)))
        return made

    @property
    def named_outputs(self) -> dict[str, Any]:
        """The outputs by name."""
        return dict(zip(self.names, self, strict=True))

    def __getattr__(self, name: str) -> Any:
        if name != "names" and name in self.names:
            return self[self.names.index(name)]
        if name.startswith("o") and name[1:].isdigit() and int(name[1:]) < len(self):
            return self[int(name[1:])]
        raise AttributeError(name)


async def result_of(
    record: scheduler_pb2.Run, function: Callable[..., object] | None = None
) -> Any:
    """What an ended run returned: a value or a tuple. Raises why it failed.

    Python objects are only opened for who has the task's ``function``, and
    within a task.
    """
    trusted = function is not None or _runtime.current() is not None
    if record.phase != scheduler_pb2.RUN_PHASE_SUCCEEDED:
        raise _failures.error_of(record, trusted=trusted)
    outputs = await _blobs.fetched(record.outputs)
    if function is not None:
        declared = signature_of(function).result
    else:
        declared = _recorded.result_of(await interface_of(record))
    try:
        return values.decode_outputs(
            outputs, is_tuple=record.outputs_is_tuple, declared=declared, trusted=trusted
        )
    except Mismatch as problem:
        raise RuntimeDataValidationError(f"the result of run `{record.name}` {problem}") from None


async def outputs_of(
    record: scheduler_pb2.Run, function: Callable[..., object] | None = None
) -> ActionOutputs:
    """What an ended run returned, as a tuple. Raises why it failed."""
    result = await result_of(record, function)
    if not record.outputs_is_tuple:
        return ActionOutputs((result,))
    return ActionOutputs(result, getattr(result, "_fields", ()))


async def inputs_of(record: scheduler_pb2.Run) -> dict[str, Any]:
    """A run's arguments, for whoever has no code of its task."""
    hints = _recorded.parameters_of(await interface_of(record))
    found = await _blobs.fetched(record.inputs.values())
    return {
        name: values.decode_recorded(hints.get(name), value)
        for name, value in zip(record.inputs, found, strict=True)
    }


async def interface_of(record: scheduler_pb2.Run) -> scheduler_pb2.TaskInterface:
    """The interface of a run's task, asked for once; empty where it is not known any more."""
    ref = scheduler_pb2.TaskRef(
        scope=common_pb2.Scope(project=record.project, domain=record.domain),
        name=record.task,
        version=record.task_version,
    )
    known: dict[bytes, scheduler_pb2.TaskInterface] = bridge().cells.setdefault("interfaces", {})
    key = ref.SerializeToString(deterministic=True)
    if key not in known:
        request = scheduler_pb2.GetTaskRequest(task=ref)
        try:
            answer = await call(scheduler_pb2.GetTaskResponse, "SchedulerService/GetTask", request)
        except NotFoundError:
            return scheduler_pb2.TaskInterface()
        if len(known) >= KNOWN_INTERFACES:
            known.clear()
        known[key] = answer.task.spec.interface
    return known[key]
